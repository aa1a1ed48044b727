"""`/api/v1/media`: the pictures and clips that events name; and streams' newest pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import FileResponse, RedirectResponse, Response

from ingest.errors import VigilError
from publish.admin import StreamAdmin
from publish.media.keys import MediaKeyError, checked, content_type
from publish.media.still import MOST_BYTES, Stills
from publish.media.stores import MediaStore, MissingError, StoreError
from publish.metrics import MergedMetrics
from publish.problem import problem, problems

RETRY_AFTER_S = 2
# A key's file never changes; it is private, as what cameras see is.
CACHED = {"Cache-Control": "private, max-age=86400, immutable", "X-Content-Type-Options": "nosniff"}


class Kept(Protocol):
    """What the keeper of media can be asked."""

    store: MediaStore

    def here(self, key: str) -> Path | None: ...

    def told(self) -> dict[str, Any]: ...


class Keeping(Stills, Protocol):
    metrics: MergedMetrics

    @property
    def media(self) -> Kept: ...

    @property
    def changes(self) -> StreamAdmin: ...


def add_media_api(app: FastAPI, view: Keeping) -> None:
    router = APIRouter(prefix="/api/v1", tags=["Pictures"])
    answers: dict[int | str, dict[str, Any]] = {
        200: {"content": {"image/jpeg": {}, "video/mp4": {}}, "description": "The file; ranges of it on request"},
        307: {"description": "Where the store has it, for a while"},
        **problems(404, 503),
    }

    @router.get("/media", summary="What is kept, and how keeping it goes")
    async def kept() -> dict[str, Any]:
        return {**view.media.told(), "workers_failing": int(view.metrics.value("vigil_media_write_failing"))}

    @router.get("/media/{key:path}", summary="A picture or clip, by the key in an event's `media`", responses=answers)
    async def media(key: str) -> Response:
        keeper = view.media
        try:
            checked(key)
            if (file := keeper.here(key)) is not None:
                return FileResponse(file, media_type=content_type(key), headers=CACHED)
            if (url := await keeper.store.url(key)) is not None:
                return RedirectResponse(url, 307, {"Cache-Control": "no-store"})
            return Response(await keeper.store.get(key), media_type=content_type(key), headers=CACHED)
        except (MediaKeyError, MissingError) as error:
            return problem(404, error.code, str(error))
        except StoreError as error:
            return problem(503, error.code, str(error), {"Retry-After": str(RETRY_AFTER_S)})

    picture: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}, **problems(503)}

    @router.get("/streams/{stream}/snapshot.jpg", summary="A stream's newest picture", responses=picture)
    async def still(
        stream: str,
        boxes: bool = Query(False, description="Draw what was seen in the latest analysed frame."),
        max_side: int = Query(1920, ge=64, le=8192, description="Made smaller to this many pixels a side."),
    ) -> Response:
        view.changes.stream(stream)  # or it is not known
        try:
            found = await view.still(stream, boxes, max_side, MOST_BYTES)
        except VigilError as error:
            return problem(503, error.code, str(error), {"Retry-After": str(RETRY_AFTER_S)})
        return Response(found.jpeg, media_type="image/jpeg", headers={**found.headers, "Cache-Control": "no-store"})

    app.include_router(router)
