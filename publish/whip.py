"""`/whip/{stream}`: WebRTC publishers come in by HTTP (WHIP, RFC 9725). The streams' workers do the rest.

Nothing is remembered here: a session is its stream's worker's, and is spoken of by the name in its URL.
"""

from __future__ import annotations

import secrets
from typing import Any, Protocol

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import SecretStr

from ingest.errors import VigilError
from ingest.webrtc.config import WebRtcConfig
from publish.access.guard import logged_in, may_of
from publish.access.logins import May
from publish.problem import bears, problems
from publish.signalling import (
    ANSWERED,
    OFFERED,
    SDP,
    TRICKLED,
    WHIP_PATH,
    RefusalError,
    body,
    created,
    fragment_of,
    linked,
)

# What a stream's worker may answer, by the code of its error; all else means that it cannot serve now.
STATUS = {
    "whip.busy": 409,
    "whip.malformed": 400,
    "whip.unacceptable": 422,
    "whip.no_ice_restart": 422,
    "whip.unknown_session": 404,
}


class Publishing(Protocol):
    """What publishers want of the service."""

    def whip_token(self, stream: str) -> SecretStr | None:
        """The stream's own token; KeyError: nobody can publish to such a stream."""
        ...

    def webrtc(self) -> WebRtcConfig: ...

    async def ask(self, stream: str, question: str, **data: Any) -> dict[str, Any]:
        """What the stream's worker answers; VigilError: its refusal, or that there is none."""
        ...


def whip_routes(service: Publishing) -> APIRouter:
    router = APIRouter(prefix=WHIP_PATH.rstrip("/"), tags=["WHIP"])

    def admit(request: Request, stream: str) -> None:
        """Refuses who may not publish to the stream: it takes the stream's token, or what does for everything."""
        may_all = may_of(request) is May.ALL
        try:
            own = service.whip_token(stream)
        except KeyError:
            if not may_all:
                raise _unauthorised() from None
            detail = f"there is no stream {stream[:64]!r} with `url: whip://`"
            raise RefusalError(404, "whip.unknown_stream", detail) from None
        if own is not None and bears(request, own.get_secret_value()):
            return
        if not may_all or (own is not None and not logged_in(request)):
            raise _unauthorised()

    async def ask(stream: str, question: str, **data: Any) -> dict[str, Any]:
        try:
            return await service.ask(stream, question, **data)
        except VigilError as error:
            raise RefusalError.of_service(error.code, str(error), STATUS) from None

    @router.post(
        "/{stream}", status_code=201, summary="Publish: an SDP offer, answered", openapi_extra=OFFERED,
        responses=ANSWERED | problems(400, 404, 409, 413, 415, 503), response_class=Response,
    )  # fmt: skip
    async def publish(stream: str, request: Request) -> Response:
        try:
            admit(request, stream)
            offer = await body(request, SDP, {"Accept-Post": SDP}, "whip")
            session = secrets.token_urlsafe(16)
            answer = await ask(stream, "whip.offer", session=session, sdp=offer, webrtc=service.webrtc().in_clear())
        except RefusalError as refusal:
            return refusal.response
        return created(request, f"{WHIP_PATH}{stream}", session, answer["sdp"], service.webrtc())

    @router.options("/{stream}", status_code=204, summary="What to send; with the token, which servers to use")
    async def options(stream: str, request: Request) -> Response:
        response = Response(status_code=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST"})
        try:
            admit(request, stream)
        except RefusalError as refusal:
            # A browser asks before it shows its token; but who shows one is told that it is wrong, and counted.
            return refusal.response if "authorization" in request.headers else response
        return linked(response, service.webrtc())

    @router.patch(
        "/{stream}/{session}", status_code=204, summary="Trickle ICE: more candidates", openapi_extra=TRICKLED,
        responses=problems(400, 404, 412, 413, 415, 428, 503),
    )  # fmt: skip
    async def trickle(stream: str, session: str, request: Request) -> Response:
        try:
            admit(request, stream)
            fragment = await fragment_of(request, session, "whip")
            await ask(stream, "whip.trickle", session=session, sdp=fragment)
        except RefusalError as refusal:
            return refusal.response
        return Response(status_code=204)

    @router.delete(
        "/{stream}/{session}", status_code=200, summary="End the session", responses=problems(404, 503),
        response_class=Response,
    )  # fmt: skip
    async def end(stream: str, session: str, request: Request) -> Response:
        try:
            admit(request, stream)
            await ask(stream, "whip.end", session=session)
        except RefusalError as refusal:
            return refusal.response
        return Response(status_code=200)

    return router


def _unauthorised() -> RefusalError:
    detail = "send `Authorization: Bearer <token>` with the stream's `token`, or with `http.token`"
    return RefusalError(401, "whip.unauthorized", detail)
