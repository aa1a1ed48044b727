"""What a batch costs on this device, measured once, and whether waiting to fill one pays."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

from inference.runtimes import Picture, Runtime, blank_picture, detect_on_device

# A larger batch must make frames cheaper by this much to be worth its latency.
WORTHWHILE = 0.97
RUNS = 3


@dataclass(frozen=True, slots=True)
class CostCurve:
    """Seconds that a batch takes, at some batch sizes; between them it is linear, beyond them the last slope goes on.

    Attributes:
        points: (batch size, seconds), by growing batch size from 1.
    """

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        sizes = [size for size, _ in self.points]
        if not sizes or sizes[0] != 1 or sizes != sorted(set(sizes)) or min(seconds for _, seconds in self.points) <= 0:
            raise ValueError(f"points must have batch sizes that grow from 1 and take some time, not {self.points}")

    def seconds(self, batch: int) -> float:
        """How long a batch of this size takes."""
        if len(self.points) == 1:
            return self.points[0][1] * batch
        pairs = list(pairwise(self.points))
        (low, low_s), (high, high_s) = next((pair for pair in pairs if batch <= pair[1][0]), pairs[-1])
        return low_s + (high_s - low_s) * (batch - low) / (high - low)

    @property
    def best_batch(self) -> int:
        """The smallest measured batch beyond which frames hardly become cheaper."""
        best, best_s = self.points[0][0], self.points[0][1]
        for size, seconds in self.points[1:]:
            if seconds / size < WORTHWHILE * best_s / best:
                best, best_s = size, seconds
        return best

    def waiting_pays(self, waiting: int, next_in_s: float) -> bool:
        """Whether frames are done sooner, all told, when a batch of `waiting` is held for one more frame.

        Started now, the batch is done after c(n), and the next frame, which is `next_in_s` away, has a batch of its own
        after that. Held, all of them are done c(n + 1) after it came. It never pays to wait for longer than the batch
        itself takes.
        """
        now, together = self.seconds(waiting), self.seconds(waiting + 1)
        apart_s = waiting * now + max(0.0, now - next_in_s) + self.seconds(1)
        return waiting * (next_in_s + together) + together < apart_s


def measure(runtime: Runtime, height: int, width: int) -> CostCurve:
    """Times prepared batches of 1, 2, 4 … up to the runtime's largest, each a few times, and takes the medians."""
    picture = blank_picture(runtime, height, width)
    points = []
    size = 1
    while size <= runtime.max_batch:
        _run(runtime, [picture] * size)
        points.append((size, statistics.median(_seconds(runtime, [picture] * size) for _ in range(RUNS))))
        size *= 2
    return CostCurve(tuple(points))


def saturate(runtime: Runtime, pictures: list[Picture], seconds: float) -> list[float]:
    """Runs this batch with as many requests under way as the runtime likes; how long each call took."""
    ends = time.monotonic() + seconds

    def work(_: int) -> list[float]:
        calls = []
        while (began := time.monotonic()) < ends:
            _run(runtime, pictures)
            calls.append(time.monotonic() - began)
        return calls

    with ThreadPoolExecutor(runtime.parallel) as pool:
        return [call for calls in pool.map(work, range(runtime.parallel)) for call in calls]


def _seconds(runtime: Runtime, pictures: list[Picture]) -> float:
    began = time.perf_counter()
    _run(runtime, pictures)
    return time.perf_counter() - began


def _run(runtime: Runtime, pictures: list[Picture]) -> None:
    """As the detector does it."""
    if detect_on_device(runtime, pictures) is None:
        runtime.infer(pictures)
