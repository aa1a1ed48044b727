"""What attention saves, and what it costs: detector calls, events and tracks of each mode beside those of `off`.

`python -m benchmarks.attention [--videos car-park,crowd] [--kind bytetrack] [--delay 0] [--model MODEL]`

The detector sees every frame of a video once. Each mode then lives through the video with the service's own classes,
and gets the boxes of those frames that it asks for, `--delay` frames later as a busy detector would tell them. Tracks
are compared with those of `off` and, where there is one, with the ground truth (TrackEval's HOTA, MOTA and IDF1).

The crowd has no ground truth. It is labelled instead by what does not depend on either mode: the same model at every
frame, with twice the pixels, and DeepSORT with a ReID model's looks.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.clips import data_folder
from benchmarks.harness import save
from inference.config import DetectorConfig
from inference.detections import Detections
from inference.heads import load_head
from inference.letterbox import Letterbox
from inference.runtimes import load_runtime
from ingest.clock import Clock
from ingest.config import SourceConfig
from ingest.frame import Frame
from ingest.motion import MotionGate
from ingest.shrink import Shrinker
from ingest.sources import open_source
from tracking.attention.attention import Attention, Look
from tracking.attention.cadence import Cadence
from tracking.attention.compare import Happened, unmatched
from tracking.attention.config import AttentionConfig, Mode
from tracking.config import TrackerConfig
from tracking.events import Event
from tracking.following import Following
from tracking.lifecycle import Lifecycle
from tracking.reid.model import load_reid, looks
from tracking.rules.config import LineConfig, ZoneConfig
from tracking.trackers import new_tracker
from tracking.tracks import Tracks

CONFIDENCE = 0.1  # the least that ByteTrack uses
TRACKER = TrackerConfig()
MODES: tuple[Mode, ...] = ("off", "motion", "adaptive")


@dataclass(frozen=True, slots=True)
class Video:
    """What a video is run with: classes to detect, rules, and the MOT sequence that has its truth, if one does."""

    file: str
    classes: list[str]
    zones: dict[str, ZoneConfig]
    lines: dict[str, LineConfig]
    truth: str | None = None
    labelled: bool = False


def _line(start: tuple[float, float], end: tuple[float, float]) -> LineConfig:
    return LineConfig.model_validate({"from": start, "to": end})


def _zone(left: float, top: float, right: float, bottom: float) -> ZoneConfig:
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return ZoneConfig.model_validate({"polygon": corners, "dwell": 2})


VIDEOS = {
    "car-park": Video(
        "person-bicycle-car-detection.mp4", ["person", "bicycle", "car"], {"middle": _zone(0.25, 0.3, 0.75, 1.0)},
        {"across": _line((0.5, 0.2), (0.5, 1.0))},
    ),
    "crowd": Video(
        "pedestrian-crowd.avi", ["person"], {"middle": _zone(0.25, 0.25, 0.75, 0.75)},
        {"across": _line((0.0, 0.5), (1.0, 0.5))}, labelled=True,
    ),
    "pets": Video(
        "PETS09-S2L1.mp4", ["person"], {"middle": _zone(0.25, 0.25, 0.75, 0.75)},
        {"across": _line((0.5, 0.1), (0.5, 0.9))}, "PETS09-S2L1",
    ),
    "tud": Video(
        "../mot/MOT15/TUD-Stadtmitte/TUD-Stadtmitte.mp4", ["person"], {"middle": _zone(0.25, 0.25, 0.75, 1.0)},
        {"across": _line((0.5, 0.1), (0.5, 1.0))}, "TUD-Stadtmitte",
    ),
    "campus": Video(
        "../mot/MOT15/TUD-Campus/TUD-Campus.mp4", ["person"], {"middle": _zone(0.25, 0.25, 0.75, 1.0)},
        {"across": _line((0.5, 0.1), (0.5, 1.0))}, "TUD-Campus",
    ),
    "bottle": Video(
        "bottle-detection.mp4", ["person", "bottle", "cup"], {"middle": _zone(0.25, 0.25, 0.75, 1.0)},
        {"across": _line((0.5, 0.1), (0.5, 1.0))},
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and the media time of the frame that brought it, seconds."""

    event: Event
    at_s: float

    @property
    def happened(self) -> Happened:
        event = self.event
        return Happened(event.type.value, event.place, event.direction, event.box, self.at_s)


@dataclass(slots=True)
class Lived:
    """A mode's way through a video.

    `boxes`: int64 [N] ids and float [N, 4] xyxy boxes of each frame. `looks`: the frames that the detector saw.
    """

    boxes: list[tuple[np.ndarray, np.ndarray]]
    events: list[Told]
    looks: list[int]
    skipped_motion: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """`frames` and what the detector saw of them; the events of `off` that are not within half a second, and those that
    `off` does not have; how near the tracks are to `off`'s, and to the truth (percent)."""

    frames: int
    detector_calls: int
    fewer: float
    events: int
    events_missed: int
    events_added: int
    hota: float
    idf1: float
    mota: float
    true_hota: float | None = None
    true_idf1: float | None = None
    true_mota: float | None = None


class Recording:
    """A video's frames, and what a detector that looks at `image_size` pixels finds in each."""

    def __init__(self, video: Video, model: Path, cache: Path, image_size: int = 640) -> None:
        self.path = data_folder() / "videos" / video.file
        self.names: tuple[str, ...] = ()
        config = DetectorConfig.model_validate({
            "model": str(model), "runtime": "openvino", "precision": "fp32", "classes": video.classes,
            "image_size": image_size,
        })  # fmt: skip
        file = cache / f"{self.path.stem}-{model.stem}-{'-'.join(video.classes)}-{image_size}.npz"
        if not file.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            np.savez(file, **self._detect(config))
        with np.load(file) as kept:
            self.names = tuple(kept["names"].tolist())
            self.rate = float(kept["rate"])
            bounds, rows = kept["bounds"], kept["rows"]
        self.found = [rows[start:end] for start, end in pairwise(bounds)]

    def frames(self) -> list[Frame]:
        """In order, with media times as the service gives them; pictures decoded once more."""
        return list(self._read())

    def _read(self):  # type: ignore[no-untyped-def]
        with open_source(SourceConfig(url=str(self.path), pace="fast")) as source:
            self.rate = source.frame_rate or 25.0
            for n, image in enumerate(source.frames()):
                pts_ns = round(n * 1e9 / self.rate)
                yield Frame("video", 1, n, pts_ns, pts_ns, pts_ns, Clock.ARRIVAL, None, image)

    def _detect(self, config: DetectorConfig) -> dict[str, np.ndarray]:
        runtime = load_runtime(Path(config.model), config)
        info, shrinker = runtime.info, Shrinker()
        head = load_head(info, CONFIDENCE, config.iou, info.class_ids(config.classes), config.max_detections)
        rows: list[np.ndarray] = []
        for frame in track(list(self._read()), f"detecting in {self.path.name}", transient=True):
            box = Letterbox.fit(frame.width, frame.height, config.image_size, info.input)
            slot = np.full((box.height, box.width, 3), 114, np.uint8)
            frame.shrink(shrinker, slot, box.place)
            runtime.prepare(box.height, box.width)
            found = head.decode([output[0] for output in runtime.infer([slot])], box.height, box.width)
            rows.append(np.hstack([box.to_source(found.rows[:, :4]), found.rows[:, 4:6]]))
        return {
            "names": np.array(info.names), "rate": np.array(self.rate), "rows": np.concatenate(rows),
            "bounds": np.cumsum([0, *map(len, rows)]),
        }  # fmt: skip

    def detections(self, n: int) -> Detections:
        rows = self.found[n]
        return Detections(rows[:, :4].copy(), rows[:, 4].copy(), rows[:, 5].astype(np.int32))


def live(
    recording: Recording, frames: list[Frame], video: Video, config: AttentionConfig, delay: int = 0,
    tracker: TrackerConfig = TRACKER,
) -> Lived:  # fmt: skip
    """What the service would make of the frames when answers come `delay` frames late."""
    attention = Attention(config) if config.mode != "off" else None
    cadence = Cadence(tracker.lost_after, tracker.high_confidence) if attention else None
    following = Following(
        new_tracker(tracker, recording.rate),
        Lifecycle("video", 1, tracker.lost_after, recording.names, video.zones, video.lines), cadence,
    )  # fmt: skip
    nothing = np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
    lived = Lived([nothing] * len(frames), [], [])
    waiting: deque[tuple[int, Frame, Look]] = deque()  # when its answer is there

    def settle(now: int) -> None:
        while waiting and waiting[0][0] <= now:
            _, frame, look = waiting.popleft()
            if look is Look.DETECT:
                tracks, events = following.analysed(frame, recording.detections(frame.seq))
                if attention is not None and following.view is not None:
                    attention.told(following.view)
            else:
                tracks, events = following.skipped(frame, look is Look.HOLD)
            note(frame, tracks, events)

    def note(frame: Frame, tracks: Tracks, events: list[Event]) -> None:
        lived.boxes[frame.seq] = tracks.track_ids, tracks.boxes
        lived.events += [Told(event, frame.pts_ns / 1e9) for event in events]

    for n, frame in enumerate(frames):
        settle(n)
        look = attention.look(frame) if attention is not None else Look.DETECT
        if look is Look.DETECT:
            lived.looks.append(n)
            if attention is not None:
                attention.asks(frame)
            waiting.append((n + 1 + delay, frame, look))
        else:
            lived.skipped_motion += look is Look.HOLD
            if attention is not None and attention.has_tracks:
                waiting.append((n, frame, look))
    settle(len(frames) + delay + 1)
    lived.events += [Told(event, frames[-1].pts_ns / 1e9) for event in following.lifecycle.finish()]
    return lived


def missed(expected: list[Told], found: list[Told]) -> tuple[list[Told], list[Told]]:
    """The expected events that are not among those found, and those found beyond them."""
    left, free = unmatched([told.happened for told in expected], [told.happened for told in found])
    return [expected[i] for i in left], [found[j] for j in free]


def near(expected: list[tuple[np.ndarray, np.ndarray]], found: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """HOTA, IDF1 and MOTA of the tracks found, in percent."""
    import trackeval

    trackeval.metrics._base_metric.print = lambda *_: None
    data: dict[str, object] = {"num_timesteps": len(expected)}
    for name, frames in (("gt", expected), ("tracker", found)):
        numbers = {one: n for n, one in enumerate(sorted({i for ids, _ in frames for i in ids.tolist()}))}
        data[f"{name}_ids"] = [np.array([numbers[i] for i in ids.tolist()], int) for ids, _ in frames]
        data[f"num_{name}_ids"] = len(numbers)
        data[f"num_{name}_dets"] = sum(len(ids) for ids, _ in frames)
    data["similarity_scores"] = [_overlaps(a, b) for (_, a), (_, b) in zip(expected, found, strict=True)]
    quiet = {"PRINT_CONFIG": False}
    return {
        "hota": 100 * float(np.mean(trackeval.metrics.HOTA(quiet).eval_sequence(data)["HOTA"])),
        "idf1": 100 * float(trackeval.metrics.Identity(quiet).eval_sequence(data)["IDF1"]),
        "mota": 100 * float(trackeval.metrics.CLEAR(quiet).eval_sequence(data)["MOTA"]),
    }


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    total = (a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1)[None] - shared
    return shared / np.maximum(total, 1e-9)


def truth_of(sequence: str, frames: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The MOTChallenge ground truth of the first `frames` frames."""
    rows = np.loadtxt(data_folder() / "mot" / "MOT15" / sequence / "gt" / "gt.txt", delimiter=",")
    rows = rows[rows[:, 6] > 0]
    boxes = np.hstack([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]])
    return [(rows[rows[:, 0] == n + 1, 1].astype(np.int64), boxes[rows[:, 0] == n + 1]) for n in range(frames)]


def labels_of(
    video: Video, frames: list[Frame], model: Path, cache: Path, image_size: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids and boxes of each frame, of DeepSORT with looks over what the model finds when it looks at `image_size`
    pixels; what it fails to see for a moment is where a straight line leads."""
    recording = Recording(video, model, cache, image_size)
    reid = load_reid(data_folder() / "weights" / "osnet_x0_25_msmt17.onnx", "cpu")
    tracker = new_tracker(TrackerConfig(kind="deepsort"), recording.rate)
    paths: dict[int, list[tuple[int, np.ndarray]]] = {}
    for frame in track(frames, "labelling", transient=True):
        found = recording.detections(frame.seq)
        (features,) = looks(reid, [(frame, found.boxes)])
        tracks = tracker.update(replace(found, features=features), frame)
        for identity, box in zip(tracks.track_ids.tolist(), found.boxes[tracks.detection_rows], strict=True):
            paths.setdefault(identity, []).append((frame.seq, box))
    labels: list[tuple[list[int], list[np.ndarray]]] = [([], []) for _ in frames]
    for identity, path in paths.items():
        seen = np.array([n for n, _ in path])
        boxes = np.array([box for _, box in path])
        for n in range(seen[0], seen[-1] + 1):
            labels[n][0].append(identity)
            labels[n][1].append(np.array([np.interp(n, seen, boxes[:, side]) for side in range(4)]))
    return [(np.array(ids, np.int64), np.array(boxes).reshape(-1, 4)) for ids, boxes in labels]


def score(lived: Lived, off: Lived, truth: list[tuple[np.ndarray, np.ndarray]] | None) -> Score:
    gone, added = missed(off.events, lived.events)
    true = {f"true_{name}": round(value, 2) for name, value in near(truth, lived.boxes).items()} if truth else {}
    return Score(
        len(lived.boxes), len(lived.looks), round(len(lived.boxes) / len(lived.looks), 2), len(off.events), len(gone),
        len(added), **{name: round(value, 2) for name, value in near(off.boxes, lived.boxes).items()}, **true,
    )  # fmt: skip


def gate_cost(frames: list[Frame]) -> float:
    """The median CPU milliseconds of a look at these frames at 1080p."""
    gate, costs = MotionGate(AttentionConfig().least_change), []
    known = np.array([[100, 100, 300, 500], [900, 400, 1000, 700]], np.float32)
    for frame in frames[:100]:
        image = frame._native.reformat(1920, 1080, "yuv420p")
        large = Frame("video", 1, frame.seq, frame.pts_ns, 0, 0, Clock.ARRIVAL, None, image)
        began = time.thread_time()
        gate.look(large, known)
        costs.append(1e3 * (time.thread_time() - began))
        if frame.seq % 10 == 0:
            gate.keep()
    return round(float(np.median(costs)), 4)


def main(
    videos: Annotated[str, typer.Option(help="Some of them, by comma.")] = ",".join(VIDEOS),
    kind: Annotated[str, typer.Option(help="The tracker.")] = "bytetrack",
    delay: Annotated[int, typer.Option(help="Frames by which the detector's answers are late.")] = 0,
    model: Annotated[Path | None, typer.Option(help="A model file; default: the shared yolov8n.pt.")] = None,
    labels: Annotated[int, typer.Option(help="The pixels that the crowd's labels are made with.")] = 1280,
    details: Annotated[bool, typer.Option(help="Print the events that differ.")] = False,
) -> None:
    console = Console(width=150)
    table = Table("video", "mode", "calls", "fewer", "events missed", "added", "HOTA", "IDF1", "MOTA", "to the truth")
    results: dict[str, dict[str, object]] = {}
    for name in videos.split(","):
        video = VIDEOS[name]
        cache, weights = Path(__file__).parent / "out" / "attention", model or data_folder() / "weights" / "yolov8n.pt"
        recording = Recording(video, weights, cache)
        frames = recording.frames()
        truth = truth_of(video.truth, len(frames)) if video.truth else None
        if video.labelled:
            truth = labels_of(video, frames, weights, cache, labels)
        tracker = TrackerConfig(kind=kind)
        off = live(recording, frames, video, AttentionConfig(), delay, tracker)
        for mode in MODES:
            lived = live(recording, frames, video, AttentionConfig(mode=mode), delay, tracker)
            one = score(lived, off, truth)
            results.setdefault(name, {})[mode] = asdict(one)
            table.add_row(
                name, mode, f"{one.detector_calls} of {one.frames}", f"{one.fewer:.1f}×",
                f"{one.events_missed} of {one.events}", str(one.events_added), f"{one.hota:.1f}", f"{one.idf1:.1f}",
                f"{one.mota:.1f}", f"{one.true_hota} {one.true_idf1} {one.true_mota}" if truth else "",
            )  # fmt: skip
            if details:
                gone, added = missed(off.events, lived.events)
                for sign, told in [*(("-", one) for one in gone), *(("+", one) for one in added)]:
                    event = told.event
                    what = f"{event.type.value} {event.place or ''} {event.track_id} {[round(x) for x in event.box]}"
                    console.print(f"{mode} {sign} {told.at_s:.2f} s {what} {event.confidence:.2f}")
    console.print(table)
    gate_ms = gate_cost(frames)
    console.print(f"the gate takes {gate_ms:.3f} ms of CPU for a 1080p frame (median)")
    results["gate"] = {"ms": gate_ms}
    console.print(f"written to {save('attention', results)}")


if __name__ == "__main__":
    typer.run(main)
