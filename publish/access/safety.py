"""What every answer says for browsers, how large a request may be, and what happens when a route fails."""

from __future__ import annotations

import secrets

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from publish.problem import problem

log = structlog.get_logger()

# The largest are configurations, of thousands of cameras.
MOST_BODY_BYTES = 1 << 20
ONE_YEAR_S = 31536000
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    # Nothing that the API answers is a page; those that are say what they need.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class _TooLargeError(HTTPException):
    """Passes through FastAPI's reading of bodies, which takes any other error for one of the body."""

    def __init__(self, most: int) -> None:
        super().__init__(413, f"a request has at most {most} bytes")


class Safety:
    """ASGI middleware, in front of everything else."""

    def __init__(self, app: ASGIApp, most_body_bytes: int = MOST_BODY_BYTES) -> None:
        self._app = app
        self._most = most_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # nothing is served but HTTP
        began, read = False, 0

        async def answer(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", f"max-age={ONE_YEAR_S}")
            await send(message)

        async def take() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most:
                raise _TooLargeError(self._most)
            return message

        try:
            if self._announced(scope) > self._most:
                raise _TooLargeError(self._most)
            await self._app(scope, take, answer)
        except _TooLargeError as error:
            if not began:
                await problem(413, "http.too_large", error.detail, {"Connection": "close"})(scope, receive, answer)
        except RecursionError:
            if began:
                raise
            await problem(422, "http.invalid", "nested too deeply")(scope, receive, answer)
        except ClientDisconnect:
            pass
        except Exception:
            number = secrets.token_hex(4)
            log.exception("a request failed", id=number, method=scope["method"], path=scope["path"], code="http.failed")
            if began:
                raise  # the connection is closed: what was sent is not whole
            detail = f"this should not have happened; the log has it under {number}"
            await problem(500, "http.failed", detail, id=number)(scope, receive, answer)

    @staticmethod
    def _announced(scope: Scope) -> int:
        """How many bytes the request says it has."""
        given = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        return int(given) if given.isdigit() else 0
