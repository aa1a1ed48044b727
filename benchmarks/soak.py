"""Far more streams than the machine can serve, for long: does all of it stand, is everyone served, is memory flat?

`python -m benchmarks.soak [--streams 32] [--minutes 10]`
"""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from benchmarks.clips import data_folder
from benchmarks.harness import Service, save
from benchmarks.latency import streams_of

EVERY_S = 10.0
# Buffers and caches have found their size after this part of the run.
SETTLED = 0.3


def main(
    streams: Annotated[int, typer.Option(help="How many cameras of 1080p25.")] = 32,
    minutes: Annotated[float, typer.Option(help="For how long.")] = 10.0,
) -> None:
    memory: list[tuple[float, float]] = []
    with Service(
        {"detector": {"model": str(data_folder() / "weights" / "yolov8n.pt")}, "streams": streams_of(streams, None, {})}
    ) as service:
        service.wait_for_frames(5, 240)
        before = service.read()
        for _ in track(range(round(minutes * 60 / EVERY_S)), "soaking", transient=True):
            time.sleep(EVERY_S)
            reading = service.read()
            memory.append((reading.at - before.at, reading.memory_bytes / 1e6))
        restarts = service.log_text().count("restarting it")
    served = {name: reading.frames[name]["analysed"] - outcomes["analysed"] for name, outcomes in before.frames.items()}
    settled = np.array([row for row in memory if row[0] > SETTLED * minutes * 60])
    growth = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0]) * 3600 if len(settled) > 1 else float("nan")
    result = {
        "streams": streams,
        "minutes": minutes,
        "analysed_fps": round(sum(served.values()) / (reading.at - before.at), 1),
        "least_served": min(served.values()),
        "most_served": max(served.values()),
        "restarts": restarts,
        "memory_mb": [round(value) for _, value in memory],
        "growth_mb_per_hour": round(growth, 1),
    }
    Console(width=100).print(result)
    Console().print(f"written to {save('soak', result)}")


if __name__ == "__main__":
    typer.run(main)
