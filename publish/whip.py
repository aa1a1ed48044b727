"""`/whip/{stream}`: WebRTC publishers come in by HTTP (WHIP, RFC 9725). The streams' workers do the rest.

Nothing is remembered here: a session is its stream's worker's, and is spoken of by the name in its URL.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Protocol

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import SecretStr
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from ingest.errors import VigilError
from ingest.webrtc.config import WebRtcConfig
from publish.problem import bears, problem

WHIP_PATH = "/whip/"
SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"
# Browsers offer some 10 kB; the control socket to a worker takes 256 KiB.
MAX_SDP_BYTES = 1 << 16
RETRY_AFTER_S = 2
CORS: dict[str, Any] = {
    "allow_methods": ["POST", "PATCH", "DELETE", "OPTIONS"],
    "allow_headers": ["Authorization", "Content-Type", "If-Match"],
    "expose_headers": ["Location", "ETag", "Link", "Accept-Post"],
}

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


class WhipCors(CORSMiddleware):
    """CORS for publishers' pages, and for nothing else."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and scope["path"].startswith(WHIP_PATH)
        await (super().__call__ if ours else self.app)(scope, receive, send)


class _RefusalError(Exception):
    """Ends a request with this answer."""

    def __init__(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.response = problem(status, code, detail, headers)


def whip_routes(service: Publishing, http_token: str | None) -> APIRouter:
    router = APIRouter(prefix=WHIP_PATH.rstrip("/"), tags=["WHIP"])

    def admit(request: Request, stream: str) -> None:
        """Refuses who may not publish to the stream; with no token anywhere, everybody may."""
        try:
            own = service.whip_token(stream)
        except KeyError:
            if http_token is not None and not bears(request, http_token):
                raise _unauthorised() from None
            detail = f"there is no stream {stream[:64]!r} with `url: whip://`"
            raise _RefusalError(404, "whip.unknown_stream", detail) from None
        tokens = [token for token in (own.get_secret_value() if own else None, http_token) if token is not None]
        if tokens and not any(bears(request, token) for token in tokens):
            raise _unauthorised()

    async def ask(stream: str, question: str, **data: Any) -> dict[str, Any]:
        try:
            return await service.ask(stream, question, **data)
        except VigilError as error:
            status = STATUS.get(error.code, 503)
            raise _RefusalError(
                status, error.code, str(error), {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
            ) from None

    def links() -> list[str]:
        """The STUN and TURN servers for a publisher, which has been admitted."""
        return [_link(server) for server in service.webrtc().in_clear()["ice_servers"]]

    @router.post("/{stream}", status_code=201, summary="Publish: an SDP offer, answered")
    async def publish(stream: str, request: Request) -> Response:
        try:
            admit(request, stream)
            offer = await _body(request, SDP, {"Accept-Post": SDP})
            session = secrets.token_urlsafe(16)
            answer = await ask(stream, "whip.offer", session=session, sdp=offer, webrtc=service.webrtc().in_clear())
        except _RefusalError as refusal:
            return refusal.response
        location = f"{request.scope.get('root_path', '')}{WHIP_PATH}{stream}/{session}"
        response = Response(answer["sdp"], 201, {"Location": location, "ETag": _etag(session)}, SDP)
        for link in links():
            response.headers.append("Link", link)
        return response

    @router.options("/{stream}", status_code=204, summary="What to send; with the token, which servers to use")
    async def options(stream: str, request: Request) -> Response:
        response = Response(status_code=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST"})
        try:
            admit(request, stream)
        except _RefusalError:
            return response  # a browser asks before it has shown its token
        for link in links():
            response.headers.append("Link", link)
        return response

    @router.patch("/{stream}/{session}", status_code=204, summary="Trickle ICE: more candidates")
    async def trickle(stream: str, session: str, request: Request) -> Response:
        try:
            admit(request, stream)
            fragment = await _body(request, FRAGMENT, {"Accept-Patch": FRAGMENT})
            match request.headers.get("if-match"):
                case None:
                    raise _RefusalError(428, "whip.no_etag", "send `If-Match` with the ETag of the session")
                case "*":
                    raise _RefusalError(422, "whip.no_ice_restart", "ICE restarts are not supported; publish again")
                case etag if etag != _etag(session):
                    raise _RefusalError(412, "whip.other_etag", "`If-Match` is not the ETag of the session")
            await ask(stream, "whip.trickle", session=session, sdp=fragment)
        except _RefusalError as refusal:
            return refusal.response
        return Response(status_code=204)

    @router.delete("/{stream}/{session}", status_code=200, summary="End the session")
    async def end(stream: str, session: str, request: Request) -> Response:
        try:
            admit(request, stream)
            await ask(stream, "whip.end", session=session)
        except _RefusalError as refusal:
            return refusal.response
        return Response(status_code=200)

    return router


def _unauthorised() -> _RefusalError:
    detail = "send `Authorization: Bearer <token>` with the stream's `token`, or with `http.token`"
    return _RefusalError(401, "whip.unauthorized", detail)


async def _body(request: Request, media_type: str, accepted: dict[str, str]) -> str:
    """The request's body as text, if it is of the type and size that it may be."""
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given != media_type:
        raise _RefusalError(415, "whip.media_type", f"send `Content-Type: {media_type}`", accepted)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_SDP_BYTES:
            raise _RefusalError(413, "whip.too_large", f"an SDP has at most {MAX_SDP_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise _RefusalError(400, "whip.malformed", "the SDP is not UTF-8") from None


def _etag(session: str) -> str:
    """Names the ICE session: there is one in a WHIP session, as restarts are refused."""
    return f'"{hashlib.sha256(session.encode()).hexdigest()[:16]}"'


def _link(server: dict[str, Any]) -> str:
    """An ICE server as RFC 9725, 4.6 has it."""
    link = f'<{server["url"]}>; rel="ice-server"'
    if server["username"] is not None:
        link += (
            f"; username={_quoted(server['username'])}; credential={_quoted(server['credential'])}"
            '; credential-type="password"'
        )
    return link


def _quoted(text: str) -> str:
    """A quoted-string (RFC 9110, 5.6.4)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
