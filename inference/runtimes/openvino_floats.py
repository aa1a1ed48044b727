"""Which number format a CPU computes floats in the fastest, tried out once.

OpenVINO takes bf16 wherever the CPU has an instruction for it. With AMX that is 2.5 times as fast as fp32; with AVX-512
alone it is 1.5 times as slow (docs/runtimes.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import openvino as ov
import structlog

from inference.choice import keep_choice, kept_choice
from inference.devices import cpu_flags

log = structlog.get_logger()

# In turns, so that whatever else the machine does falls upon all of them; the quickest run of each counts.
LEAST_TURNS, MOST_TURNS = 2, 8
ENOUGH_S = 1.0


def in_question(core: ov.Core) -> bool:
    """Whether OpenVINO's own choice may be the slower one on this CPU."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") and "amx_bf16" not in cpu_flags()


def fastest(trials: Mapping[str, Callable[[], object]], kept: Path) -> str:
    """The name of the trial that takes the least time; `kept` is where that is written, and read at the next start."""
    chosen = kept_choice(kept, "floats")
    if chosen is not None and chosen in trials:
        return chosen
    for run in trials.values():  # it touches memory that nobody has touched
        run()
    seconds: dict[str, list[float]] = {name: [] for name in trials}
    ends = time.perf_counter() + ENOUGH_S
    for turn in range(MOST_TURNS):
        for name, run in trials.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
        if turn + 1 >= LEAST_TURNS and time.perf_counter() > ends:
            break
    quickest = {name: min(runs) for name, runs in seconds.items()}
    chosen = min(quickest, key=quickest.__getitem__)
    keep_choice(kept, "floats", chosen, quickest)
    log.info("number format chosen", precision=chosen,
             ms={name: round(one * 1e3, 1) for name, one in quickest.items()})  # fmt: skip
    return chosen
