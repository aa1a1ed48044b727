"""End to end against the machine's limit: how many frames a second go from file to NATS, and what each costs.

`python -m benchmarks.throughput [--streams 1,4,8,16] [--seconds 10] [--rounds 1]`

Every stream is a 1080p25 H.264 clip read as fast as it goes, without losing a frame: packets in, tracked results out on
NATS. The limit is what decoding alone plus inference alone cost in CPU time per frame, measured just before and just
after. Beside it stands what the machine does when a frame is decoded, resized and inferred and then the next, with
nothing around it.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import limit
from benchmarks.clips import clip, data_folder
from benchmarks.harness import Service, cores, save
from inference.config import DetectorConfig

WARM_FRAMES = 20


def measure(streams: int, seconds: float) -> dict[str, Any]:
    """One row: the limit and the service with that many streams, one after the other."""
    clips = [clip("carpark"), clip("crowd")][: max(1, min(2, streams))]
    if streams == 1:
        clips = [clip("crowd")]
    detector = {"model": str(data_folder() / "weights" / "yolov8n.pt")}
    settings = DetectorConfig.model_validate(detector)
    limit_before = limit.measure(clips, settings, streams)
    config = {
        "detector": detector,
        "workers": {"streams_per_worker": 64},
        "streams": {
            f"s{n}": {"url": str(clips[n % len(clips)]), "loop": True, "pace": "fast", "on_full": "block"}
            for n in range(streams)
        },
    }
    with Service(config) as service:
        service.wait_for_frames(WARM_FRAMES)
        before = service.read()
        time.sleep(seconds)
        after = service.read()
    bound = limit.between(limit_before, limit.measure(clips, settings, streams))
    frames = after.outcomes()["analysed"] - before.outcomes()["analysed"]
    cpu = {role: (after.cpu_s[role] - before.cpu_s.get(role, 0.0)) / frames * 1e3 for role in after.cpu_s}
    stages = {
        stage: (total - before.stages[stage][0]) / max(1, count - before.stages[stage][1]) * 1e3
        for stage, (total, count) in after.stages.items() if stage in before.stages
    }  # fmt: skip
    fps = frames / (after.at - before.at)
    served = [
        after.frames[name]["analysed"] - outcomes["analysed"] for name, outcomes in before.frames.items()
    ]  # fmt: skip
    return {
        "streams": streams,
        "cores": cores(),
        "limit_fps": round(bound.fps, 2),
        "vigil_fps": round(fps, 2),
        "ratio": round(fps / bound.fps, 4),
        "turns_fps": round(bound.turns_fps, 2),
        "ratio_of_turns": round(fps / bound.turns_fps, 4),
        "overhead_ms": round(sum(cpu.values()) - (bound.decode_s + bound.infer_s) * 1e3, 3),
        "decode_ms": round(bound.decode_s * 1e3, 3),
        "infer_ms": round(bound.infer_s * 1e3, 3),
        "cpu_ms_by_process": {role: round(value, 3) for role, value in cpu.items()},
        "wall_ms_by_stage": {stage: round(value, 3) for stage, value in stages.items()},
        "memory_mb": round(after.memory_bytes / 1e6),
        "least_served": min(served),
        "most_served": max(served),
    }


def main(
    streams: Annotated[str, typer.Option(help="How many streams, one measurement each.")] = "1,4,8,16",
    seconds: Annotated[float, typer.Option(help="How long each is measured.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often; the one of median ratio is saved as the result.")] = 1,
) -> None:
    rows = [measure(int(count), seconds) for _ in range(rounds) for count in streams.split(",")]
    columns = {
        "streams": "streams", "limit_fps": "limit fps", "turns_fps": "in turns", "vigil_fps": "vigil fps",
        "ratio": "of limit", "ratio_of_turns": "of turns", "overhead_ms": "overhead ms", "decode_ms": "decode ms",
        "infer_ms": "infer ms", "memory_mb": "memory MB",
    }  # fmt: skip
    table = Table(*columns.values())
    for row in rows:
        table.add_row(*(str(row[key]) for key in columns))
    Console(width=120).print(table)
    eight = [row for row in rows if row["streams"] == 8] or rows
    headline = sorted(eight, key=lambda row: row["ratio"])[len(eight) // 2]
    Console().print(f"written to {save('throughput', {**headline, 'rows': rows})}")


if __name__ == "__main__":
    typer.run(main)
