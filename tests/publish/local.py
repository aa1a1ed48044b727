"""A client of the HTTP side as a program on the same machine is one."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient
from starlette.types import ASGIApp

HERE = "http://127.0.0.1:8600"


def local_client(app: ASGIApp, address: str = "127.0.0.1", url: str = HERE, **options: Any) -> TestClient:
    """Connects from `address` to what it calls `url`."""
    return TestClient(app, base_url=url, client=(address, 40000), **options)
