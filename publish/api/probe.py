"""`/api/v1/probe`: tries a camera's settings before they are saved."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Query
from pydantic import BaseModel, Field

from publish.api.asked import as_json
from publish.problem import problems


class Probed(BaseModel):
    """What a camera sent, or why it did not."""

    ok: bool
    seconds: float = Field(description="How long it took.")
    description: str | None = Field(None, examples=["h264 1920x1080 25 fps"])
    codec: str | None = None
    width: int | None = Field(None, description="Pixels.")
    height: int | None = None
    fps: float | None = Field(None, description="As the camera says.")
    picture: str | None = Field(
        None, description="Its first picture, behind the privacy masks: `data:image/jpeg;base64,…`"
    )
    code: str | None = Field(None, description="Why not, as in a stream's `reason`.", examples=["auth"])
    detail: str | None = Field(None, description="The same in words, without credentials.")
    mend: str | None = Field(None, description="What to do about it.")


class Probing(Protocol):
    async def probe(self, settings: dict[str, Any], stream: str | None) -> Probed:
        """Tries settings, over those of a stream if one is named.

        Raises:
            RefusedError: they do not hold (`config.invalid`), as many are being tried as may (`probe.busy`), or there
                is no such stream.
        """
        ...


def add_probe_api(app: FastAPI, service: Probing) -> None:
    router = APIRouter(prefix="/api/v1", tags=["Streams"])

    @router.post(
        "/probe", summary="Try a camera's settings: its first picture, or why there is none",
        response_model=Probed, response_model_exclude_none=True, responses=problems(404, 415, 503),
        dependencies=[Depends(as_json)],
    )  # fmt: skip
    async def probe(
        settings: dict[str, Any],
        stream: Annotated[str | None, Query(description="Try them as changes to this stream's settings.")] = None,
    ) -> Probed:
        """Takes what adding a stream takes, and connects as the stream would. That a camera cannot be read is an
        answer, too: `ok` is then false."""
        return await service.probe(settings, stream)

    app.include_router(router)
