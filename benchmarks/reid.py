"""How well features tell persons apart, on real videos with ground truth, and what they cost.

`python -m benchmarks.reid [--model yolov8n.pt] [--reid osnet_x0_25_msmt17.onnx]`

Boxes are the detector's own, each named by the person in the ground truth that it covers by half (IoU). Compared are
boxes of pictures at least a second apart: the mean cosine of the same and of different persons; how often a pair of the
same person is the more alike one of two such pairs (AUC; 0.5 is chance); and how often, of everyone seen a second
earlier, the same person is the most alike (rank-1).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.clips import data_folder
from benchmarks.harness import save
from inference.config import DetectorConfig
from inference.features import Features
from inference.heads import Head, load_head
from inference.letterbox import Letterbox
from inference.model import find_model
from inference.pooling import pooled
from inference.runtimes import Runtime, add_feature_map, load_runtime
from inference.typical import typical_features
from ingest.clock import Clock
from ingest.frame import Frame
from tracking.reid.model import ReidModel, load_reid, looks

# Video and ground truth, in the data folder, and pictures a second.
SEQUENCES = {
    "PETS09-S2L1": ("videos/PETS09-S2L1.mp4", "mot/MOT15/PETS09-S2L1/gt/gt.txt", 7),
    "TUD-Stadtmitte": ("mot/MOT15/TUD-Stadtmitte/TUD-Stadtmitte.mp4", "mot/MOT15/TUD-Stadtmitte/gt/gt.txt", 25),
    "TUD-Campus": ("mot/MOT15/TUD-Campus/TUD-Campus.mp4", "mot/MOT15/TUD-Campus/gt/gt.txt", 25),
}
CONFIDENCE, SAME_IOU = 0.4, 0.5
PAIRS = 50_000
OBJECTS = 25
RUNS = 60

Boxes = NDArray[np.float32]


@dataclass
class Seen:
    """Boxes of persons that are known: in which picture, who, and what they look like by each source."""

    pictures: list[int] = field(default_factory=list)
    persons: list[int] = field(default_factory=list)
    features: dict[str, list[NDArray[np.float32]]] = field(default_factory=lambda: {"detector": [], "reid": []})


@dataclass(frozen=True)
class Apart:
    """How well one source tells the persons of one video apart."""

    sequence: str
    source: str
    boxes: int
    persons: int
    same: float
    different: float
    auc: float
    rank1: float


class Detector:
    """The detector with its feature maps, on one picture at a time."""

    def __init__(self, model: str) -> None:
        path, _ = find_model(model)
        config = DetectorConfig(model=model, runtime="openvino", device="cpu")
        self.runtime: Runtime = load_runtime(path, config)
        add_feature_map(self.runtime)
        self.typical = typical_features(self.runtime)
        info = self.runtime.info
        self.head: Head = load_head(info, CONFIDENCE, 0.7, info.class_ids(["person"]), 300)

    def look(self, frame: Frame) -> tuple[Boxes, NDArray[np.float32], Features]:
        """Persons' boxes in source pixels, their scores, and what they look like."""
        info = self.runtime.info
        letterbox = Letterbox.fit(frame.width, frame.height, info.image_size, info.input)
        picture = np.empty((letterbox.height, letterbox.width, 3), np.uint8)
        letterbox.apply(frame.bgr(), picture)
        self.runtime.prepare(letterbox.height, letterbox.width)
        outputs = [output[0] for output in self.runtime.infer([picture])]
        *outputs, grid = outputs
        rows = self.head.decode(outputs, letterbox.height, letterbox.width).rows
        features = pooled(grid, rows[:, :4], letterbox.height // len(grid), self.typical)
        return letterbox.to_source(rows[:, :4]), rows[:, 4], features


def frames(video: Path) -> Iterator[Frame]:
    with av.open(str(video)) as container:
        for seq, image in enumerate(container.decode(video=0)):
            yield Frame("", 0, seq, 0, 0, 0, Clock.ARRIVAL, None, image)


def named(boxes: Boxes, truth: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Which boxes are of a known person, and who: each the other's best match. `truth`: rows of MOT text."""
    known = np.column_stack([truth[:, 2:4], truth[:, 2:4] + truth[:, 4:6]])
    if not len(known) or not len(boxes):
        return [], []
    low = np.maximum(boxes[:, None, :2], known[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], known[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    areas = [(one[:, 2:] - one[:, :2]).prod(axis=1) for one in (boxes, known)]
    overlaps = shared / (areas[0][:, None] + areas[1][None] - shared)
    best = overlaps.argmax(axis=1)
    rows = [
        row for row, person in enumerate(best)
        if overlaps[row, person] >= SAME_IOU and overlaps[:, person].argmax() == row
    ]  # fmt: skip
    return rows, [int(truth[best[row], 1]) for row in rows]


def look_through(sequence: str, detector: Detector, model: ReidModel) -> Seen:
    video, truth_file, _ = SEQUENCES[sequence]
    truth = np.loadtxt(data_folder() / truth_file, delimiter=",")
    seen = Seen()
    for frame in track(frames(data_folder() / video), sequence, transient=True):
        boxes, _, features = detector.look(frame)
        rows, persons = named(boxes, truth[truth[:, 0] == frame.seq + 1])
        if not rows:
            continue
        seen.pictures += [frame.seq] * len(rows)
        seen.persons += persons
        seen.features["detector"] += list(features[rows])
        seen.features["reid"] += list(looks(model, [(frame, boxes[rows])])[0])
    return seen


def apart(sequence: str, source: str, seen: Seen) -> Apart:
    second = SEQUENCES[sequence][2]
    rows, pictures, persons = np.array(seen.features[source]), np.array(seen.pictures), np.array(seen.persons)
    alike = rows @ rows.T
    later = pictures[:, None] - pictures[None]
    same, far = persons[:, None] == persons[None], later >= second
    equal, other = alike[far & same], alike[far & ~same]
    rng = np.random.default_rng(0)
    auc = float((rng.choice(equal, PAIRS) > rng.choice(other, PAIRS)).mean())
    hits = []
    for row in range(len(rows)):
        earlier = np.flatnonzero(later[row] == second)
        if persons[row] in persons[earlier] and len(earlier) > 1:
            hits.append(persons[earlier[alike[row, earlier].argmax()]] == persons[row])
    return Apart(
        sequence, source, len(rows), len(set(seen.persons)), round(float(equal.mean()), 3),
        round(float(other.mean()), 3), round(auc, 3), round(float(np.mean(hits)), 3),
    )  # fmt: skip


def milliseconds(work: Callable[[], object], runs: int = RUNS) -> float:
    """CPU time of all threads, the median of many runs after a few that do not count."""
    times = []
    for run in range(runs + 5):
        began = time.process_time_ns()
        work()
        if run >= 5:
            times.append(time.process_time_ns() - began)
    return statistics.median(times) / 1e6


def costs(model: str, detector: Detector, reid: ReidModel) -> dict[str, float]:
    """CPU milliseconds for a picture with `OBJECTS` objects."""
    path, _ = find_model(model)
    plain = load_runtime(path, DetectorConfig(model=model, runtime="openvino", device="cpu"))
    height, width = 384, 640
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (height, width, 3), np.uint8)
    for runtime in (plain, detector.runtime):
        runtime.prepare(height, width)
    without, with_maps = [], []
    for _ in range(3):  # by turns, as machines get warm
        without.append(milliseconds(lambda: plain.infer([picture])))
        with_maps.append(milliseconds(lambda: detector.runtime.infer([picture])))
    grid = detector.runtime.infer([picture])[-1][0]
    corners = rng.uniform((0, 0), (width - 60, height - 120), (OBJECTS, 2))
    rows = np.column_stack([corners, corners + np.array([40, 110]), np.ones((OBJECTS, 2))]).astype(np.float32)
    image = av.VideoFrame.from_ndarray(rng.integers(0, 255, (1080, 1920, 3), np.uint8), format="bgr24")
    frame = Frame("", 0, 0, 0, 0, 0, Clock.ARRIVAL, None, image.reformat(format="yuv420p"))
    frame.bgr()
    boxes = rows[:, :4] * np.float32(2.8)
    return {
        "infer_ms": statistics.median(without),
        "infer_with_map_ms": statistics.median(with_maps),
        "pool_ms": milliseconds(lambda: pooled(grid, rows[:, :4], height // len(grid), detector.typical)),
        "reid_frame_ms": milliseconds(lambda: looks(reid, [(frame, boxes)]), 20),
        "reid_convert_1080p_ms": milliseconds(lambda: _unseen(frame).bgr(), 20),
    }


def _unseen(frame: Frame) -> Frame:
    """The same frame, before anyone asked for its picture."""
    return Frame("", 0, 0, 0, 0, 0, Clock.ARRIVAL, None, frame._native)


def main(
    model: Annotated[str, typer.Option(help="The detector, as in `detector.model`.")] = "",
    reid: Annotated[str, typer.Option(help="The ReID model's file.")] = "",
) -> None:
    weights = data_folder() / "weights"
    model = model or str(weights / "yolov8n.pt")
    reid = reid or str(weights / "osnet_x0_25_msmt17.onnx")
    detector, embedder = Detector(model), load_reid(Path(reid), "cpu")
    rows = []
    for sequence in SEQUENCES:
        seen = look_through(sequence, detector, embedder)
        rows += [apart(sequence, source, seen) for source in ("detector", "reid")]
    console = Console(width=110)
    table = Table("sequence", "source", "boxes", "persons", "same", "different", "AUC", "rank-1")
    for row in rows:
        table.add_row(*(str(value) for value in asdict(row).values()))
    console.print(table)
    spent = costs(model, detector, embedder)
    told = Table(f"a picture with {OBJECTS} objects", "CPU ms")
    for name, value in spent.items():
        told.add_row(name, f"{value:.2f}")
    console.print(told)
    result = {
        "model": Path(model).name,
        "reid": Path(reid).name,
        "apart": [asdict(row) for row in rows],
        "cpu_ms": spent,
    }
    console.print(f"written to {save('reid', result)}")


if __name__ == "__main__":
    typer.run(main)
