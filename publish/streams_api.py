"""`/api/v1/streams` and `/api/v1/config`: what is served, and changing it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from publish.admin import RefusedError, StreamAdmin
from publish.problem import problem

STATUS = {"streams.unknown": 404, "streams.exists": 409, "streams.fixed": 409}
REFUSED = 422


class NewStream(BaseModel):
    """A stream's id, and its settings as in the config: `{"id": "gate", "url": "rtsp://…", "fps": 10}`."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(description="Lower-case letters, digits, - and _")


def add_streams_api(app: FastAPI, admin: StreamAdmin) -> None:
    router = APIRouter(prefix="/api/v1")

    @app.exception_handler(RefusedError)
    async def refused(request: Request, refusal: RefusedError) -> JSONResponse:
        del request
        return problem(STATUS.get(refusal.code, REFUSED), **refusal.told())

    @app.exception_handler(RequestValidationError)
    async def not_understood(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(REFUSED, "http.invalid", f"{where}: {first['msg']}")

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

    @router.get("/config", summary="Which configuration is in force")
    async def config() -> dict[str, Any]:
        return admin.config_state()

    app.include_router(router)
