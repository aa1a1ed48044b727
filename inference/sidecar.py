"""A model's sidecar: what its file does not say of itself, in `<file>.yaml` beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inference.errors import ModelError
from inference.heads import HEADS
from inference.input import InputSpec


class Sidecar(BaseModel):
    """How to feed a model and how to read it; goes before the file's own metadata."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: Literal[tuple(HEADS)] = Field(description="Which head reads the output.")  # type: ignore[valid-type]
    names: list[str] = Field(min_length=1, description="Class names, in the order of the output's scores.")
    stride: int = Field(32, ge=1, description="Input sizes are multiples of this.")
    color: Literal["rgb", "bgr"] = Field("rgb", description="Channel order.")
    scale: float = Field(255.0, gt=0, description="Pixel values are divided by this.")
    mean: tuple[float, float, float] = Field((0, 0, 0), description="Subtracted after scaling, per channel.")
    std: tuple[float, float, float] = Field((1, 1, 1), description="Divided by after that, per channel.")
    fit: Literal["center", "top_left", "stretch"] = Field(
        "center",
        description="Where the picture lies in the input: in the middle, top left, or stretched over it.",
    )
    fixed: tuple[int, int] | None = Field(None, description="Height and width of the only input the file takes.")
    keypoints: tuple[Annotated[int, Field(ge=1)], Literal[2, 3]] | None = Field(
        None, description="Of a pose model: how many keypoints, and values for each (x, y and perhaps a confidence)."
    )

    self_test: bool = Field(
        True, description="Whether to try at load if the model sees more when its pictures are made otherwise."
    )

    @model_validator(mode="after")
    def _pose_has_keypoints(self) -> Sidecar:
        if (self.head == "pose") != (self.keypoints is not None):
            raise ValueError("keypoints: [how many, 2 or 3] belongs to the head 'pose', and to no other")
        return self

    def input(self) -> InputSpec:
        return InputSpec(self.stride, self.color, self.scale, self.mean, self.std, self.fit, self.fixed)


def sidecar_path(model: Path) -> Path:
    return model.with_name(f"{model.name}.yaml")


def read_sidecar(model: Path) -> Sidecar | None:
    """The model's sidecar; None when it has none. Errors as `load_sidecar`'s."""
    path = sidecar_path(model)
    return load_sidecar(path) if path.is_file() else None


def load_sidecar(path: Path) -> Sidecar:
    """The sidecar in a file.

    Raises:
        ModelError: it cannot be understood.
    """
    try:
        return Sidecar.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'the file'}: {one['msg']}"
            for one in error.errors(include_url=False)
        )
        raise ModelError(f"{path}: {wrong}") from None
