"""Against Ultralytics' own tracking: same weights, video, input size and tracker, turn by turn in one run.

`python -m benchmarks.peers [--rounds 3]`

Ultralytics runs as its documentation says, `model.track(video, stream=True)` with ByteTrack: with its default runtime,
PyTorch, and with its own OpenVINO export. Vigil is the whole service, to NATS, with one stream and with eight. Nobody's
start-up and first frames count.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.clips import clip, data_folder
from benchmarks.harness import ROOT, Service, save

INPUT = (384, 640)  # height, width
WARM_FRAMES = 20
FRAMES = {"default": 60, "openvino": 150}
VIGIL_S = 6.0
SCORE_TOLERANCE = 0.03  # bf16 against fp32
BOX_TOLERANCE_PX = 6.0


def ultralytics_fps(weights: Path, video: Path, frames: int) -> float:
    """Frames per second of `YOLO.track`, in a process of its own."""
    task = json.dumps({"weights": str(weights), "video": str(video), "frames": frames})
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", "--child", task],
        check=True, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "YOLO_AUTOINSTALL": "false"},
    )  # fmt: skip
    return float(out.stdout.split()[-1])


def _track(task: dict[str, Any]) -> float:
    from ultralytics import YOLO

    model = YOLO(task["weights"], task="detect")
    seen, began = 0, 0.0
    while True:
        results = model.track(
            task["video"], stream=True, persist=True, tracker="bytetrack.yaml", imgsz=INPUT, verbose=False
        )
        for _ in results:
            seen += 1
            if seen == WARM_FRAMES:
                began = time.monotonic()
            if seen == WARM_FRAMES + task["frames"]:
                return float(task["frames"] / (time.monotonic() - began))


def vigil_fps(weights: Path, video: Path, streams: int) -> float:
    """Analysed and published frames per second of the service."""
    config = {
        "detector": {"model": str(weights)},
        "workers": {"streams_per_worker": 64},
        "streams": {
            f"s{n}": {"url": str(video), "loop": True, "pace": "fast", "on_full": "block"} for n in range(streams)
        },
    }
    with Service(config) as service:
        service.wait_for_frames(WARM_FRAMES)
        before = service.read()
        time.sleep(VIGIL_S)
        after = service.read()
    return (after.outcomes()["analysed"] - before.outcomes()["analysed"]) / (after.at - before.at)


def check_same_detections(weights: Path, video: Path) -> int:
    """Compares both on a few frames, ours as the service computes; returns how many boxes were compared.

    Raises:
        SystemExit: they are not the same.
    """
    from ultralytics import YOLO

    from inference.config import DetectorConfig
    from inference.heads import load_head
    from inference.letterbox import Letterbox
    from inference.runtimes import load_runtime

    config = DetectorConfig(model=str(weights))
    runtime = load_runtime(weights, config)
    head = load_head(runtime.info, config.confidence, config.iou, None, config.max_detections)
    model = YOLO(str(weights))
    compared = missing = 0
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % 50:
                continue
            picture = frame.to_ndarray(format="bgr24")
            box = Letterbox.fit(frame.width, frame.height, config.image_size, runtime.info.input)
            slot = np.empty((box.height, box.width, 3), np.uint8)
            box.apply(picture, slot)
            runtime.prepare(box.height, box.width)
            rows = head.decode([output[0] for output in runtime.infer([slot])], box.height, box.width).rows
            ours = np.column_stack([box.to_source(rows[:, :4]), rows[:, 4:]])
            theirs = model.predict(picture, imgsz=INPUT, verbose=False)[0].boxes.data.cpu().numpy()
            for row in theirs:
                compared += 1
                missing += not any(
                    one[5] == row[5] and abs(one[4] - row[4]) < SCORE_TOLERANCE
                    and np.abs(one[:4] - row[:4]).max() < BOX_TOLERANCE_PX for one in ours
                )  # fmt: skip
    if missing > 0.1 * compared:
        raise SystemExit(f"{missing} of {compared} of Ultralytics' boxes are not among ours: nothing to compare")
    return compared


def export_openvino(weights: Path, folder: Path) -> Path:
    """Ultralytics' own OpenVINO export of the weights."""
    copy = folder / weights.name
    shutil.copy(weights, copy)
    code = f"from ultralytics import YOLO; YOLO({str(copy)!r}).export(format='openvino', imgsz={INPUT}, verbose=False)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=folder)
    return folder / f"{weights.stem}_openvino_model"


def main(
    rounds: Annotated[int, typer.Option(help="How often each has its turn.")] = 3,
    child: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    if child:
        typer.echo(f"\n{_track(json.loads(child))}")
        return
    weights, video = data_folder() / "weights" / "yolov8n.pt", clip("crowd")
    compared = check_same_detections(weights, video)
    fps: dict[str, list[float]] = {"ultralytics": [], "ultralytics_openvino": [], "vigil_1": [], "vigil_8": []}
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as folder:
        exported = export_openvino(weights, Path(folder))
        for _ in range(rounds):
            fps["ultralytics"].append(ultralytics_fps(weights, video, FRAMES["default"]))
            fps["vigil_1"].append(vigil_fps(weights, video, 1))
            fps["ultralytics_openvino"].append(ultralytics_fps(exported, video, FRAMES["openvino"]))
            fps["vigil_8"].append(vigil_fps(weights, video, 8))
    median = {name: round(statistics.median(values), 2) for name, values in fps.items()}
    table = Table("crowd video, 1080p25 H.264", "fps, median", "vigil, 8 streams, against it")
    for name, label in (("ultralytics", "Ultralytics track, default"),
                        ("ultralytics_openvino", "Ultralytics track, its OpenVINO export"),
                        ("vigil_1", "vigil, 1 stream"), ("vigil_8", "vigil, 8 streams")):  # fmt: skip
        table.add_row(label, str(median[name]), f"{median['vigil_8'] / median[name]:.2f}x")
    Console(width=100).print(table)
    file = save("peers", {
        "vigil_fps": median["vigil_8"],
        "vigil_one_stream_fps": median["vigil_1"],
        "ultralytics_fps": median["ultralytics"],
        "ultralytics_openvino_fps": median["ultralytics_openvino"],
        "boxes_compared": compared,
        "rounds": fps,
    })  # fmt: skip
    Console().print(f"written to {file}")


if __name__ == "__main__":
    typer.run(main)
