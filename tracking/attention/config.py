"""What a user may set about attention."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Mode = Literal["off", "motion", "adaptive"]


class AttentionConfig(BaseModel):
    """Which frames the detector is asked about. Instead of a mapping, the mode alone will do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = Field(
        "off",
        description="`off`: all. `motion`: those in which something has moved. `adaptive`: as many as it takes to keep "
        "the tracks, which move on by themselves in between, and at once where something moves that is not tracked.",
    )
    keep_alive: float = Field(
        5.0, gt=0, le=60, description="Seconds after which the detector is asked even if nothing has moved."
    )
    least_change: float = Field(
        6.0, ge=1, le=100, description="Grey levels of 255 by which a small part of the picture must change to have "
        "moved: more where shadows and noise wake it, less for faint objects at night.",
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _from_the_mode_alone(cls, value: Any) -> Any:
        if value is False:  # what YAML makes of `off`
            return {"mode": "off"}
        return {"mode": value} if isinstance(value, str) else _with_words(value)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        mapping = handler.resolve_ref_schema(handler(schema))
        mode = mapping["properties"]["mode"]
        return {"anyOf": [{"enum": mode["enum"], "type": "string"}, mapping], "title": "AttentionConfig"}


def _with_words(value: Any) -> Any:
    """The mapping, with `off` where YAML has made `false` of it."""
    is_off = isinstance(value, dict) and value.get("mode") is False
    return {**value, "mode": "off"} if is_off else value
