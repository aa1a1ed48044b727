"""What a user may set about detection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from inference.errors import ModelError
from inference.runtimes import RUNTIMES
from inference.runtimes.triton_model import Address, is_triton
from ingest.redact import redact


class TritonConfig(BaseModel):
    """How a model on a Triton server is used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sidecar: Path | None = Field(
        None, description="The model's sidecar (docs/models.md), where its configuration on the server does not say "
        "what it is.",
    )  # fmt: skip
    timeout: float = Field(
        2.0, gt=0, le=8, description="Seconds for an answer, or for the server to come back; then the frames are lost."
    )
    shared_memory: bool = Field(
        False, description="Pictures and outputs go through shared memory: for a server on this machine that has the "
        "same /dev/shm.",
    )  # fmt: skip


class DetectorConfig(BaseModel):
    """The model, where it runs and what it reports."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        "auto",
        description="Path of a `.pt` or `.onnx` file with Ultralytics metadata or a sidecar, the name of an "
        "Ultralytics model to download, or `triton://host:8001/model[/version]`. `auto`: yolo11n.pt when it is here or "
        "can be had within 10 s, else the starter that ships with Vigil.",
        min_length=1,
    )
    runtime: str = Field(
        "auto",
        description=f"One of {', '.join(RUNTIMES)}, `module:Class`, or `auto`: the fastest that is installed and can "
        "compute the model on the device, measured once.",
    )
    device: str = Field("auto", description="`cpu`, `cuda`, `cuda:1`, …; `auto`: the first GPU, else the CPU.")
    devices: list[str] | None = Field(
        None, min_length=1, description="Several devices instead: a detector on each, and the streams spread over them."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto", description="`auto`: the fastest of the first three on this device, tried once where that is unclear. "
        "`int8` wants a quantised file, or `calibration`.",
    )  # fmt: skip
    calibration: Path | None = Field(
        None, description="A folder with pictures of what the cameras see; `int8` quantises the model on them, once."
    )
    batch: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        "auto", description="At most this many frames in one inference; `auto`: as many as make frames cheaper on this "
        "device, measured when an input size is first seen.",
    )  # fmt: skip
    max_wait: float = Field(
        0.01, ge=0, le=1, description="Seconds for which a frame may be held for others to share its batch; it is, "
        "only when that serves all of them sooner.",
    )  # fmt: skip
    image_size: int = Field(
        640, ge=64, le=2048, multiple_of=32, description="Longer side of the model's input in pixels."
    )
    confidence: float = Field(
        0.25, gt=0, lt=1, description="Boxes below this score are not reported unless they keep a known track going."
    )
    iou: float = Field(0.7, gt=0, le=1, description="Boxes of one class that overlap more than this are merged (NMS).")
    classes: list[str] | None = Field(None, description="Names of the classes to report; default: all of the model's.")
    max_detections: int = Field(300, ge=1, le=1000, description="At most this many boxes per frame.")
    triton: TritonConfig = Field(TritonConfig(), description="For a model on a Triton server.")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.devices and self.device != "auto":
            raise ValueError("`device` is for one, `devices` for several; set one of them")
        if is_triton(self.model):
            try:
                Address.parse(self.model)
            except ModelError as error:
                raise ValueError(str(error)) from None
        if is_triton(self.model) != (self.runtime == "triton") and self.runtime in RUNTIMES:
            raise ValueError(
                f"runtime {self.runtime!r} and model {redact(self.model)!r} do not go together: `triton` is for models "
                "like triton://host:8001/name, and they for it"
            )
        if (self.runtime, self.precision) == ("torch", "int8"):
            raise ValueError("the torch runtime does not compute in int8; use openvino, or tensorrt")
        return self
