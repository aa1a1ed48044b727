"""Stands before every route: who calls, what that one may do, and how often.

With `http.token` (and `http.read_token`), who calls shows it, or has a cookie that stands for it. Without a token this
machine's own programs may do everything, and nobody else anything: a request counts as this machine's when it comes
from a loopback address, names a loopback host (a page elsewhere can have its own name lead here) and has not come
through a proxy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from publish.access.logins import COOKIE, Logins, May
from publish.access.pace import Pace, client_of, is_loopback
from publish.access.routes import Access, access_of
from publish.config import HttpConfig
from publish.problem import problem
from publish.signalling import WHEP_PATH, WHIP_PATH

# A wrong token may be shown so many times at once, and then every ten seconds.
FAILURES_AT_ONCE, FAILURES_A_SECOND = 10, 0.1
# Requests that may come at once, in seconds of the rate.
BURST_S = 5.0
CHANGES_NOTHING = ("GET", "HEAD", "OPTIONS")
FROM_A_PROXY = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
MAY = "vigil.may"
"""In a request's scope: what who calls may do, a `May`."""


LOGGED_IN = "vigil.logged_in"
"""In a request's scope: whether a token says so, and not where the request comes from."""


class Guard:
    """ASGI middleware; routes behind it are told by `may_of` what who calls may do."""

    def __init__(
        self, app: ASGIApp, config: HttpConfig, logins: Logins, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._config = config
        self._logins = logins
        self._now_s = now_s
        rate = config.requests_per_second
        self._requests = Pace(rate, rate * BURST_S)
        self._failures = Pace(FAILURES_A_SECOND, FAILURES_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # nothing is served but HTTP
        request = Request(scope, receive)
        client = client_of(request.client.host if request.client else "")
        if (wait_s := self._requests.take(client, self._now_s())) > 0:
            refusal = _later(wait_s, "http.too_many_requests", "too many requests from your address")
            await refusal(scope, receive, send)
            return
        refused = self._refusal(request, client)
        if refused is not None:
            await refused(scope, receive, send)
            return

        async def count(message: Message) -> None:
            """A route that looks at tokens itself has refused one."""
            if message["type"] == "http.response.start" and message["status"] == 401 and _tries(request):
                self._failures.take(client, self._now_s())
            await send(message)

        await self._app(scope, receive, count)

    def _refusal(self, request: Request, client: str) -> Response | None:
        """Why the request goes no further; None: it does."""
        access = access_of(request.method, request.scope["path"])
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        shows_token = self._logins.needed and scheme.lower() == "bearer"
        # Nobody tries tokens faster than this, right ones among them.
        if _tries(request) and (wait_s := self._failures.wait_s(client, self._now_s())) > 0:
            return _later(wait_s, "http.too_many_failures", "too many wrong tokens from your address")
        may = May.NOTHING
        if shows_token:
            may = self._logins.of_token(token.strip())
            if may is May.NOTHING and access is not Access.OWN:
                self._failures.take(client, self._now_s())  # also where all may ask: the answer tells what one may
        elif self._logins.needed:
            may = self._logins.of_cookie(request.cookies.get(COOKIE, ""), time.time())
        elif self._stranger(request) is None:
            may = May.ALL
        request.scope[MAY], request.scope[LOGGED_IN] = may, self._logins.needed and may is not May.NOTHING
        # A page cannot have browsers send such a header elsewhere, unless it was allowed to.
        if scheme.lower() != "bearer" and self._from_another_site(request):
            detail = "a page of another site asks; browsers may do that only with a token in a header"
            return problem(403, "http.cross_origin", detail)
        if access in (Access.OPEN, Access.OWN) or may is May.ALL or (access is Access.READ and may is May.READ):
            return None
        if may is May.READ:
            return problem(403, "http.read_only", "the read token does not do for this; send `http.token`")
        if self._logins.needed:
            detail = "send `Authorization: Bearer <token>`, or log in at /api/v1/session"
            return problem(401, "http.unauthorized", detail)
        return self._stranger(request)

    def _stranger(self, request: Request) -> Response | None:
        """Why a request, where there is no token, does not count as this machine's own."""
        if request.client is None or not is_loopback(request.client.host):
            detail = "without a token only this machine itself is answered; set `http.token`, and send it"
            return problem(403, "http.token_needed", detail)
        if not self._config.trusted_proxies and any(name in request.headers for name in FROM_A_PROXY):
            detail = "this came through a proxy, and there is no token; set `http.token`, and send it"
            return problem(403, "http.token_needed", detail)
        if not _names_loopback(request.headers.get("host", "")):
            detail = "without a token only `localhost` and loopback addresses are answered; set `http.token`"
            return problem(403, "http.host", detail)
        return None

    def _allows(self, origin: str) -> bool:
        return "*" in self._config.allow_origins or origin in self._config.allow_origins

    def _from_another_site(self, request: Request) -> bool:
        """Whether a page of another origin makes its visitor's browser ask: with that one's cookie, or from there."""
        headers = request.headers
        origin = headers.get("origin")
        if origin is not None and for_pages_elsewhere(request.scope["path"]) and self._allows(origin):
            return False
        if (fetched_by := headers.get("sec-fetch-site")) is not None:
            if fetched_by in ("same-origin", "none"):
                return False
            return request.method not in CHANGES_NOTHING or headers.get("sec-fetch-mode") != "navigate"
        return request.method not in CHANGES_NOTHING and origin is not None and not _is_ours(origin, headers)


def may_of(request: Request) -> May:
    """What who sent this may do."""
    may: May = request.scope[MAY]
    return may


def logged_in(request: Request) -> bool:
    """Whether a token allows it, and not where it comes from."""
    shown: bool = request.scope[LOGGED_IN]
    return shown


def for_pages_elsewhere(path: str) -> bool:
    """Whether `http.allow_origins` applies: to video in and out by WebRTC, and to nothing else."""
    return path.startswith((WHIP_PATH, WHEP_PATH))


def _tries(request: Request) -> bool:
    """Whether it shows a token, right or wrong."""
    logs_in = request.method == "POST" and request.scope["path"] == "/api/v1/session"
    return logs_in or "authorization" in request.headers


def _later(wait_s: float, code: str, detail: str) -> Response:
    seconds = max(1, math.ceil(wait_s))
    return problem(429, code, f"{detail}; again in {seconds} s", {"Retry-After": str(seconds)})


def _names_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name)


def _is_ours(origin: str, headers: Headers) -> bool:
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
