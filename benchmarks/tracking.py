"""How well tracks follow people: Vigil's trackers against BoxMOT's own and Ultralytics', on MOTChallenge's truth.

`python -m benchmarks.tracking [--only detections|videos]`

`detections`: the MOT15 training sequences' own detections through each of `tracker.kind` and through BoxMOT directly,
with every frame, and with every second frame dropped: Vigil knows when frames were taken, BoxMOT counts them. What is
lost by it is compared on the frames that both had. No sequence has features: trackers that compare looks go without.

`videos`: detection and tracking of three videos through `vigil replay`'s pipeline, beside Ultralytics' `track` with the
same weights.
"""

from __future__ import annotations

import configparser
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.clips import data_folder
from benchmarks.harness import save
from benchmarks.mot import Rows, figures, read, score
from inference.detections import Detections
from ingest.clock import NS, Clock
from ingest.frame import Frame
from tracking.config import TrackerConfig
from tracking.trackers import TRACKERS, new_tracker

LOST_AFTER_S = 1.5
# So many frames after its buffer's end BoxMOT still finds a lost track; other kinds in one.
LATE_FRAMES = {"bytetrack": 2, "botsort": 2}
HISTORY = 50
BLANK = av.VideoFrame(16, 16, "yuv420p")
VIDEOS = {
    "PETS09-S2L1": "videos/PETS09-S2L1.mp4",
    "TUD-Campus": "mot/MOT15/TUD-Campus/TUD-Campus.mp4",
    "TUD-Stadtmitte": "mot/MOT15/TUD-Stadtmitte/TUD-Stadtmitte.mp4",
}

Update = Callable[[Rows, int], Rows]
"""A tracker's next frame: its detections, and its number from 1; returns the tracks seen in it."""


def sequences() -> dict[str, tuple[Path, float, int]]:
    """MOT15's training sequences: folder, frames a second, frames."""
    found = {}
    for file in sorted((data_folder() / "mot" / "MOT15").glob("*/seqinfo.ini")):
        info = configparser.ConfigParser()
        info.read(file)
        about = info["Sequence"]
        found[file.parent.name] = file.parent, float(about["frameRate"]), int(about["seqLength"])
    return found


def longest_gap(rate: float) -> int:
    """After so many frames a lost track may still be found."""
    return int(LOST_AFTER_S * rate)


def config_of(kind: str, rate: float) -> TrackerConfig:
    """The default settings; `lost_after` lies between two frames, so that rounding decides nothing."""
    return TrackerConfig.model_validate({"kind": kind, "lost_after": (longest_gap(rate) + 0.5) / rate})


def vigil(kind: str, rate: float) -> Update:
    """One of our trackers."""
    tracker = new_tracker(config_of(kind, rate), rate)

    def update(found: Rows, number: int) -> Rows:
        frame = Frame("mot", 1, number - 1, round((number - 1) * NS / rate), 0, 0, Clock.ARRIVAL, None, BLANK)
        corners = np.hstack([found[:, 2:4], found[:, 2:4] + found[:, 4:6]]).astype(np.float32)
        detections = Detections(corners, found[:, 6].astype(np.float32), np.zeros(len(found), np.int32))
        tracks = tracker.update(detections, frame)
        return _rows(number, tracks.track_ids, tracks.boxes, tracks.scores)

    return update


def boxmot(kind: str, rate: float) -> Update | None:
    """BoxMOT's own, with the same settings; None where it has no such tracker."""
    config, buffer = config_of(kind, rate), longest_gap(rate) - LATE_FRAMES.get(kind, 1)
    # What is made of BoxMOT's trackers tells how: their classes, and their settings by our config.
    others = getattr(import_module(TRACKERS[kind].partition(":")[0]), "KINDS", {})
    if kind == "bytetrack":
        from boxmot import ByteTrack

        tracker = ByteTrack(
            min_conf=config.low_confidence, track_thresh=config.high_confidence, match_thresh=config.match_threshold,
            track_buffer=buffer, frame_rate=30,
        )  # fmt: skip
    elif kind in others:
        module, _, name = others[kind].path.partition(":")
        settings = others[kind].settings(config, False)
        tracker = getattr(import_module(module), name)(max_age=buffer, max_obs=HISTORY, **settings)
        tracker.max_time_lost, tracker.cmc = buffer, None
    else:
        return None

    def update(found: Rows, number: int) -> Rows:
        corners = [found[:, 2:4], found[:, 2:4] + found[:, 4:6], found[:, 6:7], np.zeros((len(found), 1))]
        # What `update` calls, but for the appearance model that it would load: all look the same.
        looks = np.ones((len(found), 1), np.float32)
        told = tracker._track_detections(np.hstack(corners).astype(np.float32), None, looks, None)
        return _rows(number, told[:, 4], told[:, :4], told[:, 5])

    return update


def follow(update: Update, found: Rows, frames: Collection[int]) -> Rows:
    """The tracks in these frames, of which alone the tracker hears."""
    return np.concatenate([update(found[found[:, 0] == number], number) for number in frames])


def _rows(number: int, ids: NDArray[Any], boxes: NDArray[Any], scores: NDArray[Any]) -> Rows:
    rows = np.empty((len(ids), 7))
    rows[:, 0], rows[:, 1], rows[:, 2:4], rows[:, 6] = number, ids, boxes[:, :2], scores
    rows[:, 4:6] = boxes[:, 2:] - boxes[:, :2]
    return rows


def on_detections(kinds: list[str]) -> dict[str, dict[str, Any]]:
    """Figures of all sequences together, by tracker: of ours and of BoxMOT's; whole, and of every other frame."""
    found: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        scores: dict[str, dict[str, dict[str, Any]]] = {}
        for name, (folder, rate, length) in track(sequences().items(), kind, transient=True):
            truth, seen = read(folder / "gt" / "gt.txt"), read(folder / "det" / "det.txt")
            every, half = range(1, length + 1), range(1, length + 1, 2)
            for who, new in (("vigil", vigil), ("boxmot", boxmot)):
                if (tracker := new(kind, rate)) is None:
                    continue
                whole = follow(tracker, seen, every)
                again = new(kind, rate)
                assert again is not None
                for what, tracked, frames in (
                    ("whole", whole, every), ("whole, on the kept", whole, half),
                    ("half", follow(again, seen, half), half),
                ):  # fmt: skip
                    scores.setdefault(f"{who} {what}", {})[name] = score(truth, tracked, frames)
        found[kind] = {what: asdict(figures(by_sequence)) for what, by_sequence in scores.items()}
        for who in ("vigil", "boxmot"):
            if f"{who} half" in found[kind]:
                found[kind][f"{who} loses"] = round(
                    found[kind][f"{who} whole, on the kept"]["hota"] - found[kind][f"{who} half"]["hota"], 2
                )
    return found


def on_videos(kinds: list[str]) -> dict[str, dict[str, Any]]:
    """Figures of each video and of all together, by tracker; Ultralytics' after ours."""
    data = data_folder()
    weights = data / "weights" / "yolov8n.pt"
    runs: dict[str, Callable[[Path, Path], None]] = {f"vigil {kind}": _replayed(weights, kind) for kind in kinds}
    runs |= {f"ultralytics {kind}": _ultralytics(weights, kind) for kind in ("bytetrack", "botsort")}
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as folder:
        tracked = Path(folder) / "tracked.txt"
        for who, run in runs.items():
            scores, found[who] = {}, {}
            for name, video in VIDEOS.items():
                run(data / video, tracked)
                truth = read(data / "mot" / "MOT15" / name / "gt" / "gt.txt")
                scores[name] = score(truth, read(tracked), range(1, _frames(data / video) + 1))
                found[who][name] = asdict(figures({name: scores[name]}))
            found[who]["all"] = asdict(figures(scores))
    return found


def _replayed(weights: Path, kind: str) -> Callable[[Path, Path], None]:
    """A run of `vigil replay --mot`."""
    from vigil.config import StreamConfig, VigilConfig
    from vigil.recording import Analyst, Settings
    from vigil.replay_files import mot_text

    config = VigilConfig.model_validate({
        "detector": {"model": str(weights), "classes": ["person"]}, "tracker": {"kind": kind},
        "streams": {"video": StreamConfig(url="video")},
    })  # fmt: skip
    analyst = Analyst.load(Settings.of(config, "video"))

    def run(video: Path, target: Path) -> None:
        with analyst.open(video) as recording, mot_text(target) as write:
            for seen in recording.frames:
                write(seen)

    return run


def _ultralytics(weights: Path, kind: str) -> Callable[[Path, Path], None]:
    """A run of its `track`, as its documentation says."""
    from ultralytics import YOLO

    def run(video: Path, target: Path) -> None:
        results = YOLO(weights).track(str(video), stream=True, tracker=f"{kind}.yaml", classes=[0], verbose=False)
        with target.open("w") as file:
            for number, result in enumerate(results, 1):
                boxes = result.boxes
                if boxes.id is None:
                    continue
                for identity, (x1, y1, x2, y2), sure in zip(
                    boxes.id.int().tolist(), boxes.xyxy.tolist(), boxes.conf.tolist(), strict=True
                ):
                    file.write(f"{number},{identity},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{sure:.4f},0,-1\n")

    return run


def _frames(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def _show(title: str, rows: Iterator[tuple[str, dict[str, Any]]]) -> None:
    table = Table(title, "HOTA", "MOTA", "IDF1", "id switches")
    for name, told in rows:
        table.add_row(name, *(f"{told[key]:.2f}" for key in ("hota", "mota", "idf1")), str(told["id_switches"]))
    Console(width=110).print(table)


def main(
    only: Annotated[str | None, typer.Option(help="`detections` or `videos`.")] = None,
    kinds: Annotated[str, typer.Option(help="Which trackers, by comma.")] = ",".join(TRACKERS),
) -> None:
    logging.disable(logging.INFO)  # BoxMOT tells what every tracker is made of
    chosen = kinds.split(",")
    result: dict[str, Any] = {}
    if only != "videos":
        result["detections"] = on_detections(chosen)
        rows = ((f"{kind}: {what}", told) for kind, runs in result["detections"].items() for what, told in runs.items())
        _show("MOT15 train, given detections", ((name, told) for name, told in rows if isinstance(told, dict)))
        for kind, told in result["detections"].items():
            lost = {who: told.get(f"{who} loses") for who in ("vigil", "boxmot")}
            Console().print(f"{kind}: HOTA lost by dropping every second frame: {lost}")
    if only != "detections":
        result["videos"] = on_videos(chosen)
        _show("videos, yolov8n", (
            (f"{who}: {video}", told) for who, by_video in result["videos"].items() for video, told in by_video.items()
        ))  # fmt: skip
    Console().print(f"written to {save('tracking', result)}")


if __name__ == "__main__":
    typer.run(main)
