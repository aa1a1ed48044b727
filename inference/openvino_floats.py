"""Which number format a CPU computes floats in the fastest, tried out once.

OpenVINO takes bf16 wherever the CPU has an instruction for it. With AMX that is 2.5 times as fast as fp32; with AVX-512
alone it is 1.5 times as slow (docs/runtimes.md).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino as ov
import structlog

from inference.choice import keep_choice, kept_choice
from inference.devices import cpu_flags, this_cpu
from inference.model import cache_dir, weights_hash

log = structlog.get_logger()

# OpenVINO's names for them.
PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}

# In turns, so that whatever else the machine does falls upon all of them; the quickest run of each counts.
LEAST_TURNS, MOST_TURNS = 2, 8
ENOUGH_S = 1.0


def computed_in(precision: str) -> dict[str, str]:
    """The hint by which OpenVINO computes floats so."""
    return {"INFERENCE_PRECISION_HINT": PRECISIONS[precision]}


def fastest_floats(
    core: ov.Core, model: Path, compiled: Callable[[Mapping[str, str]], ov.CompiledModel], shape: tuple[int, ...]
) -> dict[str, str]:
    """The hint by which OpenVINO computes a model the fastest; none where it finds that by itself.

    Args:
        compiled: compiles the model with such a hint.
        shape: of its only input, which is uint8.
    """
    if not in_question(core):
        return {}

    @cache
    def request(precision: str) -> ov.InferRequest:
        return compiled(computed_in(precision)).create_infer_request()

    def run(precision: str) -> None:
        request(precision).infer([np.zeros(shape, np.uint8)])

    known_by = json.dumps([weights_hash(model), this_cpu(), version("openvino")])
    kept = cache_dir() / f"floats-{model.stem}-{hashlib.sha256(known_by.encode()).hexdigest()[:16]}.json"
    return computed_in(
        fastest({precision: partial(run, precision) for precision in ("bf16", "fp32")}, kept, model.name)
    )


def in_question(core: ov.Core) -> bool:
    """Whether OpenVINO's own choice may be the slower one on this CPU."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") and "amx_bf16" not in cpu_flags()


def fastest(trials: Mapping[str, Callable[[], object]], kept: Path, model: str) -> str:
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
    log.info("number format chosen", model=model, precision=chosen,
             ms={name: round(one * 1e3, 1) for name, one in quickest.items()})  # fmt: skip
    return chosen
