"""What a user may set about features."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

OFF, DETECTOR = "off", "detector"


def _written(value: Any) -> Any:
    return {False: OFF, True: "on"}[value] if isinstance(value, bool) else value  # YAML reads `off` as false


def _known(value: str) -> str:
    if value not in (OFF, DETECTOR) and not value.endswith(".onnx"):
        raise ValueError("is neither `off`, `detector` nor the path of a ReID model's .onnx file")
    return value


Reid = Annotated[
    str, Field(
        description="What tells how objects look: `off`; `detector`, its own feature maps (openvino runtime); or the "
        "path of a ReID model, an `.onnx` file (docs/reid.md)."
    ), BeforeValidator(_written), AfterValidator(_known),
]  # fmt: skip
"""Where objects' features come from."""


def is_file(reid: str) -> bool:
    """Whether it names a ReID model's file."""
    return reid not in (OFF, DETECTOR)
