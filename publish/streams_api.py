"""`/api/v1/streams`: what is served, and changing it; what streams' workers are asked for."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from ingest.errors import VigilError
from publish.admin import StreamAdmin
from publish.heatmap import png
from publish.problem import problem, problems

RETRY_AFTER_S = 2


class NewStream(BaseModel):
    """A stream's id, and its settings as in the config: `{"id": "gate", "url": "rtsp://…", "fps": 10}`."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(description="Lower-case letters, digits, - and _")


class Asking(Protocol):
    async def ask(self, stream: str, question: str, **data: Any) -> dict[str, Any]:
        """What the stream's worker answers; VigilError: its refusal, or that there is none."""
        ...


def add_streams_api(app: FastAPI, admin: StreamAdmin, workers: Asking) -> None:
    router = APIRouter(prefix="/api/v1", tags=["Streams"])

    @router.get("/streams", summary="The streams and how they are doing")
    async def streams() -> list[dict[str, Any]]:
        return admin.streams()

    @router.get("/streams/{stream}", summary="A stream, how it is doing, and its settings")
    async def show(stream: str) -> dict[str, Any]:
        return admin.stream(stream)

    keeps = Query(True, description="Whether the change outlasts the service: it is then in a file beside the config.")

    @router.post("/streams", status_code=201, summary="Add a stream")
    async def add(new: NewStream, keep: bool = keeps) -> JSONResponse:
        await admin.add(new.id, new.model_extra or {}, keep)
        return JSONResponse(admin.stream(new.id), 201, {"Location": f"/api/v1/streams/{new.id}"})

    @router.patch("/streams/{stream}", summary="Change settings of a stream (JSON merge patch: null takes one back)")
    async def change(stream: str, changes: dict[str, Any], keep: bool = keeps) -> dict[str, Any]:
        await admin.change(stream, changes, keep)
        return admin.stream(stream)

    @router.delete("/streams/{stream}", status_code=204, summary="Remove a stream")
    async def remove(stream: str, keep: bool = keeps) -> None:
        await admin.remove(stream, keep)

    @router.post("/streams/{stream}/pause", summary="Let go of a stream's camera; the stream stays known")
    async def pause(stream: str, keep: bool = keeps) -> dict[str, Any]:
        await admin.pause(stream, True, keep)
        return admin.stream(stream)

    @router.post("/streams/{stream}/resume", summary="Take up a paused stream again")
    async def resume(stream: str, keep: bool = keeps) -> dict[str, Any]:
        await admin.pause(stream, False, keep)
        return admin.stream(stream)

    picture: dict[int | str, dict[str, Any]] = {
        200: {"content": {"image/png": {}}, "description": "Rows of seconds, or a picture of them"},
        **problems(503),
    }

    @router.get("/streams/{stream}/heatmap", summary="Where objects spent their time", responses=picture)
    async def heatmap(stream: str, format: Literal["json", "png"] = "json") -> Response:
        admin.stream(stream)
        try:
            heat = await workers.ask(stream, "heatmap")
        except VigilError as error:
            return problem(503, error.code, str(error), {"Retry-After": str(RETRY_AFTER_S)})
        if format == "png":
            return Response(png(heat["seconds"]), media_type="image/png")
        return JSONResponse({"stream": stream, **heat})

    app.include_router(router)
