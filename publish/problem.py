"""How every part of the HTTP side says what is wrong: RFC 9457 problem details with stable codes."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from publish.admin import RefusedError

MEDIA_TYPE = "application/problem+json"
REFUSED = 422
# What a refusal is told with; all others are 422.
STATUS = {
    "streams.unknown": 404,
    "streams.exists": 409,
    "streams.fixed": 409,
    "config.edited": 412,
    "config.no_etag": 428,
    "config.unwritable": 409,
    "probe.busy": 503,
}
CODES = {404: "http.not_found", 405: "http.method_not_allowed", 413: "http.too_large", 415: "http.media_type"}


class Problem(BaseModel):
    """What is wrong (RFC 9457): `code` is for programs and stable, `detail` for people."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["about:blank"])
    status: int
    code: str = Field(examples=["streams.unknown"])
    detail: str
    problems: list[dict[str, Any]] = Field([], description="Of settings: each field that does not hold, and its mend.")


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> JSONResponse:
    """An answer with RFC 9457 problem details."""
    told = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse(
        {"type": "about:blank", "status": status, "code": code, "detail": detail, **more},
        status,
        {**told, **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: that it may answer so."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def tell_problems(app: FastAPI) -> None:
    """Has everything that goes wrong in a route told so."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, refusal: RefusedError) -> JSONResponse:
        del request
        return problem(STATUS.get(refusal.code, REFUSED), **refusal.told())

    @app.exception_handler(RequestValidationError)
    async def not_understood(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(REFUSED, "http.invalid", f"{where}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        detail = {
            404: "there is nothing at this path; /docs has what there is",
            405: f"{request.method} is not for this path",
        }.get(error.status_code, error.detail)
        return problem(error.status_code, CODES.get(error.status_code, "http.invalid"), detail, error.headers)


def bears(request: Request, token: str) -> bool:
    """Whether the request has this token; takes as long whichever it has."""
    given = request.headers.get("authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
