"""What pictures and clips of events cost: in the loop, in the darkroom's thread, and on disk.

`python -m benchmarks.media VIDEO GROUND_TRUTH`

`GROUND_TRUTH` is a MOTChallenge `gt.txt` of the video: its objects are the tracks, so that only media is measured. CPU
times of threads are told, not what else went on. The packets are the video's own.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from benchmarks.harness import save
from benchmarks.mot import read
from inference.input import InputSpec
from inference.model import ModelInfo
from ingest.clip import write_clip
from ingest.clock import NS, Clock
from ingest.frame import Frame
from ingest.recent import RecentPackets, Span
from publish.media.album import Album
from publish.media.config import SnapshotsConfig
from publish.media.darkroom import Darkroom
from publish.media.folder import MediaFolder
from publish.media.jpeg import jpeg
from publish.media.metrics import MediaMetrics
from publish.media.pictures import Pictures
from publish.schema.composer import Composer
from tracking.lifecycle import Lifecycle
from tracking.tracks import Tracks

NAMES = ("person",)
MODEL = ModelInfo("truth", "0" * 16, NAMES, "yolo", InputSpec(), 640, "openvino", "cpu", "fp32")
REPEATS = 30
LOST_AFTER_S = 1.5
PLENTY = 1 << 30


class Clocked:
    """A darkroom, and the CPU seconds that its thread has used."""

    def __init__(self, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self.room = Darkroom(MediaFolder(folder, 0), MediaMetrics(self.registry), lambda _: None)

    def cpu_s(self) -> float:
        """When all that it was given is done."""
        told: Future[float] = Future()
        while not self.room.take(lambda: told.set_result(time.thread_time())):
            time.sleep(0.001)
        return told.result()


def cpu_ms(work: Callable[[], object]) -> float:
    work()
    began = time.thread_time_ns()
    for _ in range(REPEATS):
        work()
    return (time.thread_time_ns() - began) / REPEATS / 1e6


def making(image: av.VideoFrame) -> dict[str, Any]:
    """CPU ms of one picture, by the size of the frame."""
    told = {}
    for width, height in ((1280, 720), (1920, 1080)):
        sized = image.reformat(width, height, "yuv420p")
        frame = partial(Frame, "", 0, 0, 0, 0, 0, Clock.ARRIVAL, None, sized)
        picture = frame().bgr()
        crop = np.ascontiguousarray(picture[100:400, 100:220])
        told[f"{width}x{height}"] = {
            "convert_ms": round(cpu_ms(lambda frame=frame: frame().bgr()), 3),
            "frame_jpeg_ms": round(cpu_ms(lambda picture=picture: jpeg(picture, 85)), 3),
            "crop_jpeg_ms": round(cpu_ms(lambda crop=crop: jpeg(crop, 85)), 3),
            "frame_bytes": len(jpeg(picture, 85)),
        }
    return told


def following(images: list[av.VideoFrame], truth: Any, fps: float, config: SnapshotsConfig | None) -> dict[str, Any]:
    """All frames of the video; CPU ms for each frame in the loop, and in the thread beside it."""
    folder = Path(tempfile.mkdtemp())
    clocked = Clocked(folder)
    album = None if config is None else Album(Pictures("cam", config, clocked.room, NAMES), None)
    lifecycle, composer = Lifecycle("cam", 1, LOST_AFTER_S, NAMES, {}, {}), Composer("x", MODEL, "0", 0.25)
    thread_s, loop_ns, ends = clocked.cpu_s(), 0, 0
    for number, image in enumerate(images):
        rows = truth[truth[:, 0] == number + 1]
        boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1).astype(np.float32)
        count = len(rows)
        tracks = Tracks(
            rows[:, 1].astype(np.int64), boxes, np.full(count, 0.9, np.float32), np.zeros(count, np.int32),
            np.arange(count, dtype=np.int32),
        )  # fmt: skip
        frame = Frame("cam", 1, number, round(number / fps * NS), 0, 0, Clock.ARRIVAL, None, image)
        events = lifecycle.update(frame, tracks)
        told = [composer.event(event) for event in events]
        ends += sum(event.summary is not None for event in events)
        if album is not None:
            began = time.thread_time_ns()
            album.look(frame, tracks, lifecycle.best_now())
            for event in told:
                album.accompany(event)
            album.looked()
            loop_ns += time.thread_time_ns() - began
        thread = clocked.cpu_s()  # it keeps up, as with a camera
    files = [file.stat().st_size for file in folder.rglob("*.jpg")]
    shutil.rmtree(folder)
    return {
        "loop_ms_per_frame": round(loop_ns / len(images) / 1e6, 4),
        "thread_ms_per_frame": round(1e3 * (thread - thread_s) / len(images), 4),
        "tracks_ended": ends, "files": len(files), "mean_bytes": round(sum(files) / max(1, len(files))),
    }  # fmt: skip


def cutting(video: Path) -> dict[str, Any]:
    """Keeping packets, and writing a clip of ten seconds."""
    recent = RecentPackets("cam", 10.0, PLENTY)
    got: list[Any] = []
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        recent.begin(stream, 1)
        began = time.thread_time_ns()
        for packet in packets:
            recent.keep(packet, 2)
        keep_us = (time.thread_time_ns() - began) / len(packets) / 1e3
        held = recent.bytes
        recent.ask("clip", Span(packets[-1].dts or 0, 3, -10.0, 0.0, 60.0), lambda *told: got.append(told[1:]))
    ((told, clip),) = got
    file = Path(tempfile.mkdtemp()) / "clip.mp4"
    write_ms = cpu_ms(lambda: write_clip(file, told, clip))
    size = file.stat().st_size
    shutil.rmtree(file.parent)
    return {
        "keep_us_per_packet": round(keep_us, 2), "held_bytes": held, "clip_packets": len(clip),
        "write_ms": round(write_ms, 3), "clip_bytes": size,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("truth", type=Path)
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    with av.open(str(chosen.video)) as container:
        fps = float(container.streams.video[0].average_rate or 25)
        images = list(container.decode(video=0))
    truth = read(chosen.truth)
    results: dict[str, Any] = {
        "making": making(images[0]),
        "following": {
            name: following(images, truth, fps, config)
            for name, config in {
                "crop and frame": SnapshotsConfig(per_minute=6000),
                "crop": SnapshotsConfig(per_minute=6000, frame=False),
            }.items()
        },
        "cutting": cutting(chosen.video),
    }  # fmt: skip
    for name, result in results.items():
        table = Table(title=name)
        rows = result.items() if all(isinstance(one, dict) for one in result.values()) else [("", result)]
        columns = list(next(iter(dict(rows).values())))
        for column in ("", *columns):
            table.add_column(column)
        for row, values in rows:
            table.add_row(row, *(str(values[column]) for column in columns))
        Console(width=120).print(table)
    Console().print(f"written to {save('media', results)}")


if __name__ == "__main__":
    main()
