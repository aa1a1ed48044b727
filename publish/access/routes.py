"""Who may reach which route: every one is in this table, and what is not in it takes the full token."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from starlette.routing import compile_path


class Access(StrEnum):
    """What a route asks of who calls it.

    Attributes:
        OPEN: nothing. It tells no more than names and states, and changes nothing.
        READ: `http.read_token` will do. It shows what cameras see, and changes nothing that outlasts the viewer.
        WRITE: `http.token`.
        OWN: the route decides by itself, as streams have tokens of their own.
    """

    OPEN = "open"
    READ = "read"
    WRITE = "write"
    OWN = "own"


class Route(NamedTuple):
    methods: str
    path: str
    access: Access


TABLE = (
    Route("GET", "/health/live", Access.OPEN),
    Route("GET", "/health/ready", Access.OPEN),
    # The page itself is the same for everybody; what it shows it asks for below.
    Route("GET HEAD", "/", Access.OPEN),
    Route("GET HEAD", "/page/{file:path}", Access.OPEN),
    Route("GET HEAD", "/favicon.ico", Access.OPEN),
    Route("GET POST DELETE", "/api/v1/session", Access.OPEN),
    Route("GET", "/metrics", Access.READ),
    Route("GET", "/docs", Access.READ),
    Route("GET HEAD", "/openapi.json", Access.READ),
    Route("GET", "/api/v1/system", Access.READ),
    Route("GET", "/api/v1/nats", Access.READ),
    Route("GET", "/api/v1/bridges", Access.READ),
    Route("GET", "/api/v1/events", Access.READ),
    Route("GET", "/api/v1/live", Access.READ),
    Route("GET", "/api/v1/streams", Access.READ),
    Route("POST", "/api/v1/streams", Access.WRITE),
    Route("GET", "/api/v1/streams/{stream}", Access.READ),
    Route("PATCH DELETE", "/api/v1/streams/{stream}", Access.WRITE),
    Route("POST", "/api/v1/streams/{stream}/pause", Access.WRITE),
    Route("POST", "/api/v1/streams/{stream}/resume", Access.WRITE),
    Route("GET", "/api/v1/streams/{stream}/heatmap", Access.READ),
    Route("GET", "/api/v1/streams/{stream}/snapshot.jpg", Access.READ),
    Route("GET", "/api/v1/streams/{stream}/preview.mjpg", Access.READ),
    Route("GET", "/api/v1/media", Access.READ),
    Route("GET", "/api/v1/media/{key:path}", Access.READ),
    # It connects to where it is told to, and shows what is there.
    Route("POST", "/api/v1/probe", Access.WRITE),
    Route("GET", "/api/v1/config", Access.READ),
    Route("PUT", "/api/v1/config", Access.WRITE),
    Route("POST", "/api/v1/config/validate", Access.WRITE),
    # Viewers change nothing.
    Route("POST OPTIONS", "/whep/{stream}", Access.READ),
    Route("PATCH DELETE OPTIONS", "/whep/{stream}/{session}", Access.READ),
    Route("POST OPTIONS", "/whip/{stream}", Access.OWN),
    Route("PATCH DELETE", "/whip/{stream}/{session}", Access.OWN),
)
_COMPILED = [(set(route.methods.split()), compile_path(route.path)[0], route.access) for route in TABLE]


def access_of(method: str, path: str) -> Access:
    """What a request takes; where there is no such route, as much as any."""
    return classed(method, path) or Access.WRITE


def classed(method: str, path: str) -> Access | None:
    """What the table says; None: nothing."""
    for methods, pattern, access in _COMPILED:
        if method in methods and pattern.match(path):
            return access
    return None
