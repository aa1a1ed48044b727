"""`/api/v1/streams/{id}/preview.mjpg`: a stream's live picture for an `<img>`, where WebRTC does not get through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ingest.errors import VigilError
from publish.admin import StreamAdmin
from publish.media.still import Still
from publish.moving import FPS, MOST_FPS, CrowdedError, Moving, Viewer
from publish.problem import problem, problems

BOUNDARY = "vigil-picture"
RETRY_AFTER_S = 5


class Showing(Protocol):
    moving: Moving

    @property
    def changes(self) -> StreamAdmin: ...


def add_preview_api(app: FastAPI, service: Showing) -> None:
    router = APIRouter(prefix="/api/v1", tags=["Pictures"])
    pictures: dict[int | str, dict[str, Any]] = {
        200: {
            "content": {f"multipart/x-mixed-replace; boundary={BOUNDARY}": {"schema": {"type": "string"}}},
            "description": "JPEGs one after the other",
        },
        **problems(404, 503),
    }

    @router.get(
        "/streams/{stream}/preview.mjpg", summary="A stream's live picture, as motion JPEG", responses=pictures,
        response_class=StreamingResponse,
    )  # fmt: skip
    async def preview(
        stream: str, fps: Annotated[float, Query(ge=0.1, le=MOST_FPS, description="Pictures a second, at most.")] = FPS
    ) -> Response:
        """What was last seen is drawn on it. It ends when the stream has had no picture for ten seconds."""
        service.changes.stream(stream)  # or it is not known
        try:
            viewer = service.moving.join(stream, fps)
        except CrowdedError as error:
            return _unavailable(error)
        stills = service.moving.pictures(viewer)
        try:
            first = await anext(stills)
        except VigilError as error:
            service.moving.leave(stream, viewer)
            return _unavailable(error)
        except BaseException:
            service.moving.leave(stream, viewer)
            raise
        return _MotionJpeg(service.moving, stream, viewer, first, stills)

    app.include_router(router)


class _MotionJpeg(StreamingResponse):
    """Whatever ends it, the viewer leaves."""

    def __init__(self, moving: Moving, stream: str, viewer: Viewer, first: Still, stills: AsyncIterator[Still]) -> None:
        super().__init__(
            self._parts(first, stills), media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}",
            headers={"X-Accel-Buffering": "no"},
        )  # fmt: skip
        self._leave = lambda: moving.leave(stream, viewer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()

    async def _parts(self, first: Still, stills: AsyncIterator[Still]) -> AsyncIterator[bytes]:
        yield f"--{BOUNDARY}\r\n".encode() + _part(first)
        try:
            async for still in stills:
                yield _part(still)
        except VigilError:
            return  # who asks again is told why


def _part(still: Still) -> bytes:
    """With the next boundary behind it: browsers show a picture when they know that it is whole."""
    told = {"Content-Type": "image/jpeg", "Content-Length": len(still.jpeg), **still.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return head.encode() + b"\r\n" + still.jpeg + f"\r\n--{BOUNDARY}\r\n".encode()


def _unavailable(error: VigilError) -> Response:
    return problem(503, error.code, str(error), {"Retry-After": str(RETRY_AFTER_S)})
