"""What a user may set about identity across cameras."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class LikenessConfig(BaseModel):
    """How alike the mean looks of two tracks are, as cosines; `python -m benchmarks.identity` measures it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    same: float = Field(gt=-1, le=1, description="Of the same person, on average.")
    different: float = Field(ge=-1, lt=1, description="Of different persons, on average; less than `same`.")
    deviation: float = Field(gt=0, le=1, description="Their standard deviation.")

    @model_validator(mode="after")
    def _in_order(self) -> LikenessConfig:
        if self.different >= self.same:
            raise ValueError(f"different ({self.different:g}) is not below same ({self.same:g})")
        return self


class IdentityConfig(BaseModel):
    """The same person in several cameras gets one `global_id`, by looks and time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(False, description="Whether tracks are compared across cameras.")
    streams: tuple[str, ...] | None = Field(
        None, min_length=1, description="Streams that take part; default: all that have `tracker.reid`."
    )
    classes: tuple[str, ...] = Field(
        ("person",), min_length=1, description="Which objects; by the model's class names."
    )
    memory: float = Field(
        300.0, ge=1, le=86400, description="Seconds for which someone whom no camera sees is remembered."
    )
    looks: int = Field(
        5, ge=1, le=50, description="Pictures of a track, a fifth of a second apart at least, before it is compared."
    )
    likeness: LikenessConfig | None = Field(
        None, description="How alike the ReID model finds tracks; default: as measured of OSNet x0.25."
    )

    @property
    def of_all(self) -> IdentityConfig:
        """What is the same for all streams that take part, whichever these are."""
        return self.model_copy(update={"streams": None})
