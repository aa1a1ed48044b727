"""What can be asked of a service's streams from outside, whichever way the question comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ingest.errors import VigilError


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with what was asked: the field, what was given, why it is wrong and how to mend it; in a text, on
    which line."""

    code: str
    path: str
    value: str | None
    message: str
    mend: str | None
    line: int | None = None


class RefusedError(VigilError):
    """What was asked is not done, and nothing has changed.

    Codes: `streams.unknown`, `streams.exists`, `streams.fixed` (the service runs without a config file),
    `config.invalid` (with problems), and those of models that cannot load.
    """

    def __init__(self, code: str, message: str, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.problems = problems

    def told(self) -> dict[str, Any]:
        problems = [asdict(problem) for problem in self.problems]
        return {"code": self.code, "detail": str(self)} | ({"problems": problems} if problems else {})


class StreamAdmin(Protocol):
    """Changes what is served. With `keep` a change outlasts the service. Methods raise `RefusedError`."""

    def streams(self) -> list[dict[str, Any]]:
        """Every stream and how it is doing."""
        ...

    def stream(self, name: str) -> dict[str, Any]:
        """One of them, with its settings; no credentials."""
        ...

    async def add(self, stream: str, settings: Mapping[str, Any], keep: bool) -> None: ...

    async def change(self, stream: str, changes: Mapping[str, Any], keep: bool) -> None:
        """`changes` is a JSON merge patch over the stream's settings."""
        ...

    async def remove(self, stream: str, keep: bool) -> None: ...

    async def pause(self, stream: str, paused: bool, keep: bool) -> None:
        """Lets go of the stream's camera, or takes it up again; the stream stays known, with its settings."""
        ...

    def config_state(self) -> dict[str, Any]:
        """Which configuration is in force, and what is wrong with a newer one that is not."""
        ...
