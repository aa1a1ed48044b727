"""`/api/v1/session`: logging a browser in, which can send no token with pictures and events, by a cookie."""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from publish.access.guard import may_of
from publish.access.logins import COOKIE, SESSION_S, Logins, May
from publish.api.asked import as_json
from publish.problem import problem, problems


class Token(BaseModel):
    model_config = ConfigDict(extra="forbid")

    token: str = Field(min_length=1, max_length=4096, description="`http.token` or `http.read_token`.")


class Standing(BaseModel):
    """Whether this service has a token, and what who asks may do."""

    token_needed: bool
    may: May


def add_session_api(app: FastAPI, logins: Logins) -> None:
    router = APIRouter(prefix="/api/v1", tags=["Login"])

    def set_cookie(response: Response, request: Request, may: May) -> None:
        response.set_cookie(
            COOKIE, logins.begin(may, time.time()), max_age=SESSION_S, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip

    @router.get("/session", summary="What may I do?", response_model=Standing)
    async def standing(request: Request) -> Response:
        told = Standing(token_needed=logins.needed, may=may_of(request))
        response = JSONResponse(told.model_dump())
        cookie = request.cookies.get(COOKIE, "")
        by_cookie = logins.of_cookie(cookie, time.time())
        if by_cookie is not May.NOTHING and logins.half_over(cookie, time.time()):
            set_cookie(response, request, by_cookie)
        return response

    @router.post(
        "/session", status_code=204, summary="Log in: the cookie in the answer stands for the token",
        responses=problems(401, 409, 415), dependencies=[Depends(as_json)],
    )  # fmt: skip
    async def begin(token: Token, request: Request) -> Response:
        if not logins.needed:
            return problem(409, "session.no_token", "this service has no token: there is nothing to log in with")
        may = logins.of_token(token.token)
        if may is May.NOTHING:
            return problem(401, "session.wrong_token", "neither `http.token` nor `http.read_token` is this")
        response = Response(status_code=204)
        set_cookie(response, request, may)
        return response

    @router.delete("/session", status_code=204, summary="Log out: the cookie is worth nothing from now on")
    async def end(request: Request) -> Response:
        logins.end(request.cookies.get(COOKIE, ""), time.time())
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return response

    app.include_router(router)
