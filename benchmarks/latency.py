"""Capture to subscriber under load: latency, drops and fairness at 0.5, 0.8, 1 and 3 times what the machine can do.

`python -m benchmarks.latency [--seconds 20]`

Streams are 1080p25 clips played at their own speed. Capacity is measured first: the frames a second that the service
analyses of eight of them. Load is then set by how many frames a second are sampled (`fps`), so that the machine decodes
what cameras would send in any case. A subscriber in a process of its own takes each frame result from NATS; latency is
the time from the frame's arrival in the service to the result's arrival there.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import datetime
from typing import Annotated, Any

import nats
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.clips import RATE, clip, data_folder
from benchmarks.harness import ROOT, Reading, Service, save

STREAMS = 8
LOADS = (0.5, 0.8, 1.0, 3.0)
# Two streams of the overloaded run are worth more and less than the others.
WEIGHTS = {"s0": 2.0, "s1": 0.5}
WARM_S = 3.0


def streams_of(count: int, fps: float | None, weights: dict[str, float]) -> dict[str, Any]:
    clips = [clip("carpark"), clip("crowd")]
    return {
        f"s{n}": {
            "url": str(clips[n % 2]), "loop": True, "weight": weights.get(f"s{n}", 1.0), **({"fps": fps} if fps else {})
        }
        for n in range(count)
    }  # fmt: skip


def run(streams: dict[str, Any], seconds: float) -> tuple[Reading, Reading, dict[str, list[float]]]:
    """The service's accounts before and after, and the latencies in seconds that a subscriber saw, by stream."""
    config = {
        "detector": {"model": str(data_folder() / "weights" / "yolov8n.pt")},
        "workers": {"streams_per_worker": 64},
        "streams": streams,
    }
    with Service(config) as service:
        service.wait_for_frames(5)
        time.sleep(WARM_S)
        task = json.dumps({"nats": service.nats, "seconds": seconds})
        subscriber = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.latency", "--child", task], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert subscriber.stdout is not None
        subscriber.stdout.readline()  # it has subscribed
        before = service.read()
        latencies = json.loads(subscriber.communicate()[0])
        after = service.read()
    return before, after, latencies


async def _subscribe(task: dict[str, Any]) -> None:
    client = await nats.connect(task["nats"])
    latencies: dict[str, list[float]] = {}

    async def heard(message: Any) -> None:
        now = time.time()
        frame = json.loads(message.data)
        captured = datetime.fromisoformat(frame["captured_at"]).timestamp()
        latencies.setdefault(frame["stream"], []).append(now - captured)

    await client.subscribe("vigil.bench.frames.*", cb=heard)
    await client.flush()
    print("subscribed", flush=True)
    await asyncio.sleep(task["seconds"])
    await client.close()
    print(json.dumps(latencies))


def counted(before: Reading, after: Reading) -> dict[str, dict[str, int]]:
    return {
        stream: {outcome: count - before.frames[stream].get(outcome, 0) for outcome, count in outcomes.items()}
        for stream, outcomes in after.frames.items()
    }


def share_error(analysed: dict[str, int], streams: dict[str, Any]) -> float:
    """The largest relative distance of a stream's served frames from its weight's share."""
    weights = {name: stream["weight"] for name, stream in streams.items()}
    whole, total = sum(weights.values()), sum(analysed.values())
    return max(abs(analysed[name] / (total * weight / whole) - 1) for name, weight in weights.items())


def main(
    seconds: Annotated[float, typer.Option(help="How long each load is measured.")] = 15.0,
    child: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    if child:
        asyncio.run(_subscribe(json.loads(child)))
        return
    before, after, _ = run(streams_of(STREAMS, None, {}), 8.0)
    capacity = sum(outcomes["analysed"] for outcomes in counted(before, after).values()) / (after.at - before.at)
    loads: dict[str, Any] = {}
    table = Table("load", "offered fps", "analysed fps", "p50 ms", "p95 ms", "p99 ms", "dropped", "share error")
    for load in LOADS:
        fps = capacity * load / STREAMS
        # Beyond what eight cameras send, there are more of them.
        count = STREAMS if fps <= RATE else round(capacity * load / RATE)
        streams = streams_of(count, fps if fps < RATE else None, WEIGHTS if load > 1 else {})
        before, after, latencies = run(streams, seconds)
        frames = counted(before, after)
        analysed = {name: outcomes["analysed"] for name, outcomes in frames.items()}
        dropped = sum(n for outcomes in frames.values() for name, n in outcomes.items() if name.startswith("dropped"))
        passed = np.concatenate([np.array(values) for values in latencies.values()]) * 1e3
        p50, p95, p99 = np.percentile(passed, [50, 95, 99]).tolist()
        offered = sum(outcomes["decoded"] - outcomes["skipped_sample"] for outcomes in frames.values())
        elapsed = after.at - before.at
        result = loads[str(load)] = {
            "streams": count,
            "offered_fps": round(offered / elapsed, 1),
            "analysed_fps": round(sum(analysed.values()) / elapsed, 1),
            "p50_ms": round(p50, 1),
            "p95_ms": round(p95, 1),
            "p99_ms": round(p99, 1),
            "dropped": dropped,
            "share_error": round(share_error(analysed, streams), 4),
            "analysed": analysed,
        }
        table.add_row(
            f"{load:g}x", *(str(result[key]) for key in ("offered_fps", "analysed_fps", "p50_ms", "p95_ms", "p99_ms",
                                                         "dropped", "share_error")),
        )  # fmt: skip
    Console(width=100).print(f"capacity: {capacity:.1f} frames a second with {STREAMS} streams", table)
    Console().print(f"written to {save('latency', {'capacity_fps': round(capacity, 1), 'load': loads, **loads})}")


if __name__ == "__main__":
    typer.run(main)
