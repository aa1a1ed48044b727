"""The HTTP side: the routes of all its parts, and what stands before them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from publish.access.guard import Guard
from publish.access.logins import Logins
from publish.access.safety import Safety
from publish.admin import StreamAdmin
from publish.api.config import Configured, add_config_api
from publish.api.events import Remembering, add_events_api
from publish.api.live import Broadcasting, add_live_api
from publish.api.openapi import describe
from publish.api.preview import Showing, add_preview_api
from publish.api.probe import Probing, add_probe_api
from publish.api.reference import add_reference
from publish.api.session import add_session_api
from publish.api.system import Overseen, add_system_api
from publish.config import HttpConfig
from publish.health import Standing, health
from publish.listening import Certificate, HttpConnection, context_of
from publish.media_api import Keeping, add_media_api
from publish.metrics import MergedMetrics
from publish.page_files import page_routes
from publish.problem import tell_problems
from publish.signalling import CORS, SignallingCors
from publish.streams_api import add_streams_api
from publish.whep import Previewing, whep_routes
from publish.whip import Publishing, whip_routes


class Changing(StreamAdmin, Configured, Protocol):
    """What changes what is served."""


class View(Publishing, Previewing, Standing, Keeping, Showing, Overseen, Probing, Remembering, Broadcasting, Protocol):
    """What the HTTP side shows."""

    metrics: MergedMetrics

    @property
    def changes(self) -> Changing: ...

    def bridge_list(self) -> list[dict[str, Any]]:
        """The bridges and how they are doing; no credentials."""
        ...


def create_app(view: View, config: HttpConfig) -> FastAPI:
    app = FastAPI(title="Vigil", docs_url=None, redoc_url=None, redirect_slashes=False)
    registry = CollectorRegistry()
    registry.register(view.metrics)
    logins = Logins(config)

    @app.get("/health/live", tags=["Health"], summary="The supervisor answers")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get(
        "/health/ready", tags=["Health"], summary="Model loaded, workers running, NATS connected",
        responses={503: {"description": "Not all of that; the same body says what is missing"}},
    )  # fmt: skip
    async def ready() -> JSONResponse:
        told = health(view)
        # A peer that is away makes nobody less ready, but who looks here wants to know.
        bridges = {"bridges": {one["name"]: one["state"] for one in view.bridge_list()}} if view.bridge_list() else {}
        return JSONResponse(told | bridges, 200 if told["status"] == "ready" else 503)

    @app.get("/api/v1/nats", tags=["System"], summary="How it stands with NATS: what is wrong, and how to mend it")
    async def nats_state() -> dict[str, Any]:
        return view.nats_state()

    @app.get("/api/v1/bridges", tags=["System"], summary="The bridges and how they are doing")
    async def bridges() -> list[dict[str, Any]]:
        return view.bridge_list()

    @app.get(
        "/metrics", tags=["System"], summary="Prometheus metrics of all processes", response_class=PlainTextResponse
    )
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    tell_problems(app)
    add_session_api(app, logins)
    add_system_api(app, view)
    add_streams_api(app, view.changes, view)
    add_probe_api(app, view)
    add_config_api(app, view.changes)
    add_events_api(app, view)
    add_live_api(app, view)
    add_media_api(app, view)
    add_preview_api(app, view)
    app.include_router(whip_routes(view))
    app.include_router(whep_routes(view))
    app.include_router(page_routes())
    add_reference(app)
    describe(app)
    # The last one stands in front.
    app.add_middleware(Guard, config=config, logins=logins)
    if config.allow_origins:
        app.add_middleware(SignallingCors, allow_origins=config.allow_origins, **CORS)
    app.add_middleware(Safety)
    if config.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=config.trusted_proxies)
    return app


class _Server(uvicorn.Server):
    """Signals are the supervisor's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    view: View, config: HttpConfig, listening: socket.socket, certificate: Certificate | None = None
) -> None:
    """Serves on a bound socket until cancelled."""
    server = _Server(
        uvicorn.Config(
            create_app(view, config), http=HttpConnection, log_config=None, access_log=False, lifespan="off", ws="none",
            proxy_headers=False, server_header=False, timeout_graceful_shutdown=1,
            ssl_context_factory=context_of(certificate),
        )
    )  # fmt: skip
    following = None if certificate is None else asyncio.create_task(certificate.follow(), name="certificate")
    try:
        await server.serve(sockets=[listening])
    finally:
        if following is not None:
            following.cancel()
