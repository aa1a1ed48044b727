"""What requests have in common: their bodies say what they are."""

from __future__ import annotations

from fastapi import HTTPException, Request


async def as_json(request: Request) -> None:
    """Refuses a body that does not say it is JSON: pages of other sites can send those that say nothing."""
    if not _has_body(request):
        return
    given = _media_type(request)
    if given != "application/json" and not (given.startswith("application/") and given.endswith("+json")):
        raise HTTPException(415, "send `Content-Type: application/json`")


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()
