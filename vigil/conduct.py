"""Which streams have harmed the worker they were in, and what follows: a worker of their own, then ever longer pauses.

No clock, no process: the supervisor says what happened and when.
"""

from __future__ import annotations

from dataclasses import dataclass

# After so long without harm a stream may be with others again.
GOOD_AFTER_S = 600.0
# So often a stream may end the worker that it has for itself before it has to wait.
CHANCES_ALONE = 2
FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 3600.0


@dataclass(slots=True)
class _Record:
    last_s: float
    pause_s: float = 0.0
    ended_alone: int = 0


class Conduct:
    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def __len__(self) -> int:
        """How many streams are kept apart."""
        return len(self._records)

    def alone(self, stream: str) -> bool:
        """Whether the stream is to have a worker for itself."""
        return stream in self._records

    def harmed(self, stream: str, now_s: float) -> float:
        """The stream has crashed or blocked its worker; returns for how many seconds it is not to be served."""
        record = self._records.get(stream)
        if record is None:
            self._records[stream] = _Record(now_s)
            return 0.0
        record.last_s = now_s
        record.ended_alone += 1
        if record.ended_alone > CHANCES_ALONE:
            record.pause_s = min(LONGEST_PAUSE_S, 2 * record.pause_s or FIRST_PAUSE_S)
        return record.pause_s

    def reformed(self, now_s: float) -> list[str]:
        """Forgives the streams that have done no harm for long, and names them."""
        good = [name for name, one in self._records.items() if now_s - one.last_s > one.pause_s + GOOD_AFTER_S]
        for name in good:
            del self._records[name]
        return good

    def forget(self, stream: str) -> None:
        """The stream is gone, or another one now: it starts afresh."""
        self._records.pop(stream, None)
