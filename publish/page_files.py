"""The web page at `/`: the files of `publish/page/`, plain HTML, CSS and ES modules, as they lie there.

Everything but the document itself is under `/page/<digest of it all>/`, so that browsers keep it for good and never mix
two versions; the document is small, and asked for again each time.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from publish.problem import problem

FOLDER = Path(__file__).with_name("page")
PREFIX = "/page/"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".webmanifest": "application/json"}
KEPT = "public, max-age=31536000, immutable"
# Scripts and styles come from here alone, none are inline; pictures may be `data:` (a probe's) and `blob:`.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Document(NamedTuple):
    """The page's HTML; `version` names the files that it asks for."""

    text: str
    version: str
    etag: str


def is_page(path: str) -> bool:
    """Whether a path is the page's own: there is nothing in it that anybody may not see."""
    return path == "/" or path.startswith(PREFIX)


@cache
def files() -> dict[str, Path]:
    """What is served, by name; nothing else can be asked for."""
    return {file.name: file for file in sorted(FOLDER.iterdir()) if file.suffix in TYPES}


@cache
def document() -> Document:
    """What `/` answers."""
    digest = hashlib.sha256()
    for name, file in files().items():
        digest.update(name.encode() + b"\0" + file.read_bytes())
    version = digest.hexdigest()[:16]
    modules = "\n".join(
        f'<link rel="modulepreload" href="page/{version}/{name}">' for name in files() if name.endswith(".js")
    )  # all at once, where imports alone would be asked for one level after the other
    text = (FOLDER / "index.html").read_text()
    text = text.replace('"page/', f'"page/{version}/').replace("<!-- modules -->", modules)
    return Document(text, version, f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"')


def page_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page(request: Request) -> Response:
        found = document()
        headers = {**HEADERS, "ETag": found.etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        return Response(found.text, headers=headers, media_type="text/html")

    @router.get(PREFIX + "{version}/{name}")
    async def part(version: str, name: str) -> Response:
        file = files().get(name)
        if file is None:
            return problem(404, "page.unknown", "the page has no such file; load it anew")
        # A document from before an update asks for files by their old name, and gets what there is now.
        kept = KEPT if version == document().version else "no-store"
        return FileResponse(file, media_type=TYPES[file.suffix], headers={**HEADERS, "Cache-Control": kept})

    return router
