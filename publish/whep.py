"""`/whep/{stream}`: WebRTC players get a stream's live picture by HTTP (WHEP). The preview process does the rest.

Who may watch is decided before a request comes here, as for all that is not `/whip/`. Nothing is remembered here: a
session is the preview process's, and is spoken of by the name in its URL.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ingest.errors import VigilError
from ingest.webrtc.config import WebRtcConfig
from publish.problem import problems
from publish.signalling import (
    ANSWERED,
    OFFERED,
    SDP,
    TRICKLED,
    WHEP_PATH,
    RefusalError,
    body,
    created,
    fragment_of,
    linked,
)

OVERLAY_HEADER = "Vigil-Overlay"

# What the preview process may answer, by the code of its error; all else means that it cannot serve now.
STATUS = {
    "preview.disabled": 403,
    "preview.no_stream": 404,
    "preview.codec": 422,
    "preview.masked": 422,
    "preview.encoder": 422,
    "whep.malformed": 400,
    "whep.unacceptable": 422,
    "whep.no_ice_restart": 422,
    "whep.unknown_session": 404,
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    **problems(412, 413, 415, 428),
    400: {"description": "`whep.malformed`: not SDP"},
    404: {"description": "`preview.no_stream`, `whep.unknown_session`"},
    422: {"description": "`whep.unacceptable`; `preview.codec`, `preview.masked`: not with this overlay"},
    503: {"description": "`preview.too_many_viewers`, `webrtc.no_port`; or the preview starts again: retry"},
}


class Previewing(Protocol):
    """What players want of the service."""

    def webrtc(self) -> WebRtcConfig: ...

    async def ask_preview(self, question: str, stream: str, **data: Any) -> dict[str, Any]:
        """What the preview process answers; VigilError: its refusal, or that there is none."""
        ...


def whep_routes(service: Previewing) -> APIRouter:
    router = APIRouter(prefix=WHEP_PATH.rstrip("/"), tags=["WHEP"])

    async def ask(question: str, stream: str, **data: Any) -> dict[str, Any]:
        try:
            return await service.ask_preview(question, stream, **data)
        except VigilError as error:
            raise RefusalError.of_service(error.code, str(error), STATUS) from None

    @router.post(
        "/{stream}", status_code=201, summary="Play: an SDP offer, answered", responses=ANSWERED | REFUSALS,
        response_class=Response, openapi_extra=OFFERED,
    )  # fmt: skip
    async def play(
        stream: str,
        request: Request,
        overlay: Annotated[
            Literal["auto", "client", "burned"],
            Query(description="Who draws what was seen: the player, from the data channel `tracks`, or Vigil."),
        ] = "auto",
    ) -> Response:
        webrtc = service.webrtc()
        try:
            offer = await body(request, SDP, {"Accept-Post": SDP}, "whep")
            session = secrets.token_urlsafe(16)
            answer = await ask(
                "whep.offer", stream, session=session, sdp=offer, overlay=overlay, webrtc=webrtc.in_clear()
            )
        except RefusalError as refusal:
            return refusal.response
        response = created(request, f"{WHEP_PATH}{stream}", session, answer["sdp"], webrtc)
        response.headers[OVERLAY_HEADER] = answer["overlay"]
        return response

    @router.options("/{stream}", status_code=204, summary="What to send, and which servers to use")
    async def options(stream: str) -> Response:
        del stream  # all of them take the same
        response = Response(status_code=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST"})
        return linked(response, service.webrtc())

    @router.patch(
        "/{stream}/{session}", status_code=204, summary="Trickle ICE: more candidates", responses=REFUSALS,
        openapi_extra=TRICKLED,
    )  # fmt: skip
    async def trickle(stream: str, session: str, request: Request) -> Response:
        try:
            fragment = await fragment_of(request, session, "whep")
            await ask("whep.trickle", stream, session=session, sdp=fragment)
        except RefusalError as refusal:
            return refusal.response
        return Response(status_code=204)

    @router.delete(
        "/{stream}/{session}", status_code=200, summary="End the session", responses=REFUSALS, response_class=Response
    )
    async def end(stream: str, session: str) -> Response:
        try:
            await ask("whep.end", stream, session=session)
        except RefusalError as refusal:
            return refusal.response
        return Response(status_code=200)

    return router
