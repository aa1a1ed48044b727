"""Whether analysis fell behind by more than what was done for viewers, and in what order its results came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median

# The same run repeated moves a ratio by so much (docs/benchmarks.md); where phases without viewers differ by more among
# themselves, that much cannot be told from chance either.
TOLERANCE = 0.03
# And where they differ by more than this, nothing can be told.
DISTURBED = 0.15
# Nor where fewer of the cameras' pictures were decoded: Vigil then falls behind them by as much as buffers hold.
LEAST_DECODED = 0.9


@dataclass(frozen=True, slots=True)
class Phase:
    """Frames a second, and cores: CPU seconds a second.

    Attributes:
        analysed, decoded: frames a second of all streams.
        vigil: cores that all of its processes took.
        idle: cores that nobody took.
        detector: cores of `vigil` that the detector took.
        drawing: cores of `vigil` that burned-in boxes took in workers: made small, drawn on, encoded.
        sending: cores of `vigil` that the preview process took.
    """

    analysed: float
    decoded: float
    vigil: float
    idle: float
    detector: float
    drawing: float
    sending: float

    @property
    def there(self) -> float:
        """Cores that Vigil took or could have taken."""
        return self.vigil + self.idle


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    Attributes:
        took: cores that went to viewers: what Vigil did for them, and what they and other programs took from Vigil.
        fell: by which part fps fell.
        explained: by which part it had to.
        tolerance: what cannot be told from chance.
        holds: whether it fell by no more than had to be; None: the machine was too busy with other things to tell.
    """

    took: float
    fell: float
    explained: float
    tolerance: float
    holds: bool | None


def typical(phases: Sequence[Phase]) -> Phase:
    return Phase(*(median(getattr(one, field.name) for one in phases) for field in fields(Phase)))


def judged(watched: Sequence[Phase], without: Sequence[Phase], sent: float) -> Verdict:
    """The phases with viewers against those without, of the same run; cameras `sent` so many pictures a second.

    Pictures are decoded whether there is time to analyse them or not. So what goes to viewers is missing in the
    detector, and fps may fall by as large a part as that is of what the detector had: by a little more than must be, as
    tracking and messages, a twentieth of the work on a frame (docs/benchmarks.md), become fewer with it.
    """
    before, after = typical(without), typical(watched)
    took = after.drawing + after.sending - before.sending + before.there - after.there
    fell, explained = 1 - after.analysed / before.analysed, took / before.detector
    spread = (max(one.analysed for one in without) - min(one.analysed for one in without)) / before.analysed
    tolerance = max(TOLERANCE, spread)
    busy = spread > DISTURBED or min(before.decoded, after.decoded) < LEAST_DECODED * sent
    return Verdict(took, fell, explained, tolerance, None if busy else fell <= explained + tolerance)


def out_of_order(heard: Sequence[tuple[str, int, int]]) -> int:
    """Results that came after a later frame's of their stream; (stream, session, seq) as they came."""
    last: dict[str, tuple[int, int]] = {}
    wrong = 0
    for stream, *frame in heard:
        wrong += tuple(frame) <= last.get(stream, (-1, -1))
        last[stream] = max(last.get(stream, (-1, -1)), (frame[0], frame[1]))
    return wrong
