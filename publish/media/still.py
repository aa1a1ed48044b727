"""The contract of a still: a stream's newest picture, asked for from outside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

# What HTTP answers with at most; NATS says itself what it carries.
MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Still:
    """Attributes:
    jpeg: the picture.
    session, seq: the frame that it shows.
    captured_at: when that was taken.
    boxes_seq: the frame, in the same session, whose boxes are drawn into it: the latest one that was analysed.
    """

    jpeg: bytes
    session: int
    seq: int
    captured_at: datetime
    boxes_seq: int | None

    @property
    def headers(self) -> dict[str, str]:
        told: dict[str, Any] = {"Session": self.session, "Seq": self.seq, "Captured-At": self.captured_at.isoformat()}
        if self.boxes_seq is not None:
            told["Boxes-Seq"] = self.boxes_seq
        return {f"Vigil-{name}": str(value) for name, value in told.items()}


class Stills(Protocol):
    async def still(
        self, stream: str, boxes: bool, max_side: int, max_bytes: int, had: tuple[int, int] | None = None
    ) -> Still:
        """`had` are session and seq of a frame that is known, of which no picture is made.

        VigilError: there is no picture at present, or no worker that has one, or none but that (`stream.same_picture`).
        """
        ...
