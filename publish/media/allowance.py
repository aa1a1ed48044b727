"""How many a minute: used up at once, it comes back evenly."""

from __future__ import annotations


class Allowance:
    """Lets `per_minute` through in any minute's burst, and as many each minute in the long run."""

    def __init__(self, per_minute: float) -> None:
        self._most = max(1.0, per_minute)
        self._per_s = per_minute / 60
        self._left, self._at_s = self._most, 0.0

    def take(self, now_s: float) -> bool:
        """Whether there is one left at a time, in monotonic seconds."""
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
