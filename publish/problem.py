"""What every part of the HTTP side says and asks alike: problems, and bearer tokens."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> JSONResponse:
    """RFC 9457 problem details."""
    told = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse(
        {"type": "about:blank", "status": status, "code": code, "detail": detail, **more},
        status,
        {**told, **(headers or {})},
        media_type="application/problem+json",
    )


def bears(request: Request, token: str) -> bool:
    """Whether the request has this token; takes as long whichever it has."""
    given = request.headers.get("authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
