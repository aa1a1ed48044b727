"""What WHIP (RFC 9725) and WHEP have in common over HTTP: SDP in and out, sessions by URL, trickle ICE, refusals."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from ingest.webrtc.config import WebRtcConfig
from publish.problem import problem

WHIP_PATH, WHEP_PATH = "/whip/", "/whep/"
SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"
# Browsers offer some 10 kB; the control socket to a worker takes 256 KiB.
MAX_SDP_BYTES = 1 << 16
RETRY_AFTER_S = 2
CORS: dict[str, Any] = {
    "allow_methods": ["POST", "PATCH", "DELETE", "OPTIONS"],
    "allow_headers": ["Authorization", "Content-Type", "If-Match"],
    "expose_headers": ["Location", "ETag", "Link", "Accept-Post", "Vigil-Overlay"],
}


OFFERED: dict[str, Any] = {
    "requestBody": {"required": True, "content": {SDP: {"schema": {"type": "string"}}}},
}
TRICKLED: dict[str, Any] = {
    "requestBody": {"required": True, "content": {FRAGMENT: {"schema": {"type": "string"}}}},
}
ANSWERED: dict[int | str, dict[str, Any]] = {
    201: {"content": {SDP: {"schema": {"type": "string"}}}, "description": "The answer; `Location` is the session's"},
}


class SignallingCors(CORSMiddleware):
    """CORS for pages of others that publish or play, and for nothing else."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and scope["path"].startswith((WHIP_PATH, WHEP_PATH))
        await (super().__call__ if ours else self.app)(scope, receive, send)


class RefusalError(Exception):
    """Ends a request with this answer."""

    def __init__(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.response = problem(status, code, detail, headers)

    @classmethod
    def of_service(cls, code: str, detail: str, statuses: dict[str, int]) -> RefusalError:
        """What the service answered; a code that has no status means that it cannot serve now."""
        status = statuses.get(code, 503)
        return cls(status, code, detail, {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None)


def created(request: Request, path: str, session: str, sdp: str, webrtc: WebRtcConfig) -> Response:
    """The answer to an offer, with the session's URL below `path`."""
    location = f"{request.scope.get('root_path', '')}{path}/{session}"
    return linked(Response(sdp, 201, {"Location": location, "ETag": etag(session)}, SDP), webrtc)


def linked(response: Response, webrtc: WebRtcConfig) -> Response:
    """Tells the STUN and TURN servers to somebody who has been admitted."""
    for server in webrtc.in_clear()["ice_servers"]:
        response.headers.append("Link", _link(server))
    return response


async def fragment_of(request: Request, session: str, protocol: str) -> str:
    """The trickle-ICE fragment that a PATCH brings for the session; codes begin with the protocol's name."""
    fragment = await body(request, FRAGMENT, {"Accept-Patch": FRAGMENT}, protocol)
    match request.headers.get("if-match"):
        case None:
            raise RefusalError(428, f"{protocol}.no_etag", "send `If-Match` with the ETag of the session")
        case "*":
            detail = "ICE restarts are not supported; begin a new session"
            raise RefusalError(422, f"{protocol}.no_ice_restart", detail)
        case given if given != etag(session):
            raise RefusalError(412, f"{protocol}.other_etag", "`If-Match` is not the ETag of the session")
    return fragment


async def body(request: Request, media_type: str, accepted: dict[str, str], protocol: str) -> str:
    """The request's body as text, if it is of the type and size that it may be."""
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given != media_type:
        raise RefusalError(415, f"{protocol}.media_type", f"send `Content-Type: {media_type}`", accepted)
    text = b""
    async for part in request.stream():
        text += part
        if len(text) > MAX_SDP_BYTES:
            raise RefusalError(413, f"{protocol}.too_large", f"an SDP has at most {MAX_SDP_BYTES} bytes")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise RefusalError(400, f"{protocol}.malformed", "the SDP is not UTF-8") from None


def etag(session: str) -> str:
    """Names the ICE session: there is one in a session, as restarts are refused."""
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
