"""`/api/v1/system`: how the service and its machine are doing."""

from __future__ import annotations

from typing import Protocol

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, Field


class ProcessState(BaseModel):
    name: str = Field(examples=["worker-0"])
    pid: int
    cpu: float | None = Field(description="Cores in use, over the last second or so; null at first.")
    memory_bytes: int = Field(description="Resident memory, what it shares with other processes among it.")


class DeviceState(BaseModel):
    name: str = Field(examples=["cpu", "cuda:0"])
    description: str
    utilisation: float | None = Field(description="0 to 1.")
    memory_bytes: int | None
    memory_used_bytes: int | None


class DetectorState(BaseModel):
    name: str
    ready: bool
    model: str | None = Field(description="null until it is loaded, as what follows.")
    hash: str | None
    runtime: str | None
    precision: str | None
    device: str | None
    image_size: int | None
    fps: float | None = Field(description="Frames a second that it has looked at.")
    utilisation: float | None = Field(description="Share of the time in which it was computing, 0 to 1.")


class StageState(BaseModel):
    """Seconds that a frame spends there."""

    stage: str
    p50_s: float | None
    p95_s: float | None


class StreamFigures(BaseModel):
    id: str
    state: str
    reason: str | None = Field(description="Why it is not live.")
    analysed_fps: float | None = Field(description="null until two seconds after the start.")
    camera_fps: float | None = Field(description="What the camera sends, analysed or not.")
    latency_p50_s: float | None = Field(description="From a frame's arrival to its published result.")
    latency_p99_s: float | None
    tracks: int
    frames: dict[str, int] = Field(description="Since the start, by what became of them; `decoded` is their sum.")
    dropped: dict[str, int] = Field(description="Those of them that there was no room or time for, by reason.")


class System(BaseModel):
    version: str
    site: str
    uptime_s: float
    window_s: float = Field(description="Seconds before now that rates, utilisations and quantiles are of.")
    nats: str = Field(description="`connected`, `troubled` or `disconnected`; /api/v1/nats tells more.")
    outbox_pending: int = Field(description="Events that wait for NATS.")
    viewers: dict[str, int] = Field(description="Who is watching, by how.")
    processes: list[ProcessState]
    devices: list[DeviceState]
    detectors: list[DetectorState]
    stages: list[StageState]
    streams: list[StreamFigures]


class Overseen(Protocol):
    def system(self) -> System:
        """How it is doing at this moment."""
        ...


def add_system_api(app: FastAPI, service: Overseen) -> None:
    router = APIRouter(prefix="/api/v1", tags=["System"])

    @router.get("/system", summary="Processes, devices, detectors, stages and streams, and how they are doing")
    async def system() -> System:
        return service.system()

    app.include_router(router)
