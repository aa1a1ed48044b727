"""How well the same person is known again in several cameras, on real videos with ground truth.

`python -m benchmarks.identity [--model yolov8n.pt] [--reid osnet_x0_25_msmt17.onnx] [--looks 5]`

Each video is cut down the middle into two cameras, and all six run at once as one site: people walk from one camera
into the other, back again, or are seen in neither for a while. Boxes and features are the detector's and the ReID
model's, tracks are ByteTrack's, and who is who is decided by the very code that the service runs. A track is of the
person whose box in the ground truth it covers most often. Of all pairs of tracks: how many of those that were given one
id are of one person (precision), and how many of those of one person were given one id (recall). Beside that, how alike
the mean looks of tracks are: what `identity.likeness` is to be set to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import combinations, count
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.clips import data_folder
from benchmarks.harness import save
from benchmarks.reid import SEQUENCES, Detector, frames, named
from inference.detections import Detections
from inference.features import Features
from ingest.clock import NS, Clock
from ingest.frame import Frame
from tracking.config import TrackerConfig
from tracking.events import EventType, Identity
from tracking.identity.identities import Identities, Likeness
from tracking.identity.looks import Looks
from tracking.lifecycle import Lifecycle
from tracking.reid.model import load_reid, looks
from tracking.trackers.bytetrack import ByteTracker

# The ground truth numbers who leaves and comes back anew; these two were known again by eye.
SAME_PERSON = {("PETS09-S2L1", 1): 19, ("PETS09-S2L1", 14): 15}
SOURCES = ("reid", "detector")
# For the detector's own features the service has no default; of several that were tried this did least badly.
DETECTOR_LIKENESS = Likeness(0.78, 0.6, 0.1)

Person = tuple[str, int]


@dataclass(frozen=True)
class Picture:
    """What a camera sees at one time; of each box its person, or None."""

    camera: str
    at_ns: int
    frame: Frame
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    features: dict[str, Features]
    persons: list[Person | None]


@dataclass
class Followed:
    """One camera's tracks: whom each covers how often, and who it was said to be."""

    tracker: ByteTracker
    lifecycle: Lifecycle
    looks: Looks
    covers: dict[int, Counter[Person | None]] = field(default_factory=dict)
    said: dict[int, Identity] = field(default_factory=dict)
    means: dict[int, Features] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Of one source of features, for the cameras of one video or of all."""

    source: str
    cameras: str
    tracks: int
    persons: int
    ids: int
    precision: float
    recall: float
    same: float
    same_deviation: float
    different: float
    different_deviation: float


def pictures(sequence: str, detector: Detector, reid_file: Path) -> Iterator[Picture]:
    """Both halves of every picture of a video."""
    video, truth_file, rate = SEQUENCES[sequence]
    truth = np.loadtxt(data_folder() / truth_file, delimiter=",")
    reid = load_reid(reid_file, "cpu")
    for frame in track(frames(data_folder() / video), sequence, transient=True):
        boxes, scores, own = detector.look(frame)
        rows, numbers = named(boxes, truth[truth[:, 0] == frame.seq + 1])
        who = {row: (sequence, SAME_PERSON.get((sequence, one), one)) for row, one in zip(rows, numbers, strict=True)}
        features = {"detector": own, "reid": looks(reid, [(frame, boxes)])[0]}
        right = boxes[:, [0, 2]].mean(axis=1) > frame.width / 2
        at_ns = frame.seq * NS // rate
        for side, half in (("left", ~right), ("right", right)):
            shown = Frame(side, 1, frame.seq, at_ns, 0, 0, Clock.ARRIVAL, None, frame._native)
            yield Picture(
                f"{sequence} {side}", at_ns, shown, boxes[half], scores[half],
                {source: rows[half] for source, rows in features.items()},
                [who.get(row) for row in np.flatnonzero(half).tolist()],
            )  # fmt: skip


def follow(site: list[Picture], source: str, wanted: int) -> dict[str, Followed]:
    """All cameras through trackers, looks and identities, in the order of time."""
    numbers = count(1)
    known = Identities(lambda: str(next(numbers)), DETECTOR_LIKENESS if source == "detector" else None)
    cameras: dict[str, Followed] = {}
    config = TrackerConfig()
    for seen in sorted(site, key=lambda one: one.at_ns):
        if seen.camera not in cameras:
            rate = SEQUENCES[seen.camera.split()[0]][2]
            lifecycle = Lifecycle(seen.camera, 1, config.lost_after, ("person",), {}, {})
            cameras[seen.camera] = Followed(ByteTracker(config, rate), lifecycle, Looks(wanted))
        camera = cameras[seen.camera]
        found = Detections(seen.boxes, seen.scores, np.zeros(len(seen.boxes), np.int32))
        tracks = camera.tracker.update(found, seen.frame)
        for track_id, row in zip(tracks.track_ids.tolist(), tracks.detection_rows.tolist(), strict=True):
            if row >= 0:
                camera.covers.setdefault(track_id, Counter())[seen.persons[row]] += 1
        for look in camera.looks.see(seen.at_ns, tracks, seen.features[source], {0}, source):
            camera.looks.told(look.track_id, seen.at_ns)
            camera.means.setdefault(look.track_id, look.features)
            beside = [str(other) for other in look.beside]
            said, _ = known.see(seen.camera, str(look.track_id), seen.at_ns / NS, look.features, look.looks, beside)
            camera.said[look.track_id] = said
        for event in camera.lifecycle.update(seen.frame, tracks):
            if event.type is EventType.TRACK_ENDED:
                camera.looks.ended(event.track_id)
                known.ended(seen.camera, str(event.track_id))
    return cameras


def judged(cameras: dict[str, Followed], source: str, of: str) -> Result:
    """What was said of the tracks that are of someone."""
    said = []
    for name, camera in cameras.items():
        for track_id, identity in camera.said.items():
            person = camera.covers[track_id].most_common(1)[0][0]
            if person is not None and (of == "all" or name.startswith(of)):
                said.append((person, identity.global_id, camera.means[track_id]))
    right, pairs = Counter[str](), list(combinations(said, 2))
    alike: dict[bool, list[float]] = {True: [], False: []}
    for (person, who, mean), (other_person, other_who, other_mean) in pairs:
        same, one = person == other_person, who == other_who
        right.update(both=same and one, same=same, one=one)
        alike[same].append(float(mean @ other_mean))
    return Result(
        source, of, len(said), len({person for person, *_ in said}), len({who for _, who, _ in said}),
        round(right["both"] / max(right["one"], 1), 2), round(right["both"] / max(right["same"], 1), 2),
        *(round(float(value), 2) for same in (True, False) for value in (np.mean(alike[same]), np.std(alike[same]))),
    )  # fmt: skip


def main(
    model: Annotated[str, typer.Option(help="The detector, as in `detector.model`.")] = "",
    reid: Annotated[str, typer.Option(help="The ReID model's file.")] = "",
    looks: Annotated[int, typer.Option(help="As `identity.looks`.")] = 5,
) -> None:
    weights = data_folder() / "weights"
    model, reid = model or str(weights / "yolov8n.pt"), reid or str(weights / "osnet_x0_25_msmt17.onnx")
    detector = Detector(model)
    site = [one for sequence in SEQUENCES for one in pictures(sequence, detector, Path(reid))]
    results = []
    for source in SOURCES:
        cameras = follow(site, source, looks)
        results += [judged(cameras, source, of) for of in ("all", *SEQUENCES)]
    table = Table(
        "source", "cameras", "tracks", "persons", "ids", "precision", "recall", "same", "+-", "different", "+-"
    )
    for result in results:
        table.add_row(*(str(value) for value in asdict(result).values()))
    console = Console(width=110)
    console.print(table)
    told = {"model": Path(model).name, "reid": Path(reid).name, "looks": looks, "cut": [asdict(one) for one in results]}
    console.print(f"written to {save('identity', told)}")


if __name__ == "__main__":
    typer.run(main)
