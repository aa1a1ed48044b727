"""How old the last frame and the last inference of each stream are, whatever its worker is doing, or is not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from vigil.layout import Shard


@dataclass(frozen=True, slots=True)
class Fresh:
    """When a stream's last frame came, and when the last one was analysed, in ns of `time.monotonic_ns()`.

    Of a stream that has had none yet, when it was first looked for.
    """

    frame_ns: int
    analysed_ns: int


class Freshness:
    """Remembers, as a stream may move to another worker and workers end. Lives in the supervisor's loop."""

    def __init__(self) -> None:
        self._fresh: dict[str, Fresh] = {}

    def look(self, streams: Collection[str], shards: Iterable[Shard], now_ns: int) -> Mapping[str, Fresh]:
        """What is known of these streams, as the workers have told it until now."""
        nothing = Fresh(now_ns, now_ns)
        self._fresh = {name: self._fresh.get(name, nothing) for name in streams}
        for shard in shards:
            if shard.activity is None:
                continue
            for number, seat in shard.seats.items():
                known = self._fresh.get(seat.order.name)
                if known is not None:
                    frame_ns, analysed_ns = shard.activity.fresh(number)
                    self._fresh[seat.order.name] = Fresh(
                        max(known.frame_ns, frame_ns), max(known.analysed_ns, analysed_ns)
                    )
        return self._fresh
