"""Mean average precision of a model through our own path, on images labelled in YOLO's format.

`python -m benchmarks.accuracy MODEL [--images FOLDER] [--runtime openvino] [--precision fp32] [--calibration FOLDER]`

Letterbox, runtime, head and NMS are the service's; matching and averaging are Ultralytics' own metric code, with the
settings of its `val`: confidence 0.001, IoU 0.7, 300 boxes at most.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks.clips import data_folder
from benchmarks.harness import save
from inference.config import DetectorConfig
from inference.heads import load_head
from inference.letterbox import Letterbox
from inference.runtimes import load_runtime

CONFIDENCE, IOU, LIMIT = 0.001, 0.7, 300
# COCO's: a box is right at ten strictnesses.
IOU_STEPS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True, slots=True)
class Accuracy:
    model: str
    runtime: str
    precision: str
    images: int
    boxes: int
    map50: float
    map50_95: float


def evaluate(config: DetectorConfig, folder: Path) -> Accuracy:
    """Runs the model of `config` over `folder/images` and compares with `folder/labels`."""
    from ultralytics.utils.metrics import ap_per_class

    runtime = load_runtime(Path(config.model), config)
    head = load_head(runtime.info, CONFIDENCE, IOU, None, LIMIT)
    correct, scores, found, wanted = [], [], [], []
    images = sorted((folder / "images").rglob("*.jpg"))
    for file in track(images, "images", transient=True):
        picture = cv2.imread(str(file))
        height, width = picture.shape[:2]
        box = Letterbox.fit(width, height, config.image_size, runtime.info.input)
        slot = np.empty((box.height, box.width, 3), np.uint8)
        box.apply(picture, slot)  # type: ignore[arg-type]
        runtime.prepare(box.height, box.width)
        rows = head.decode([output[0] for output in runtime.infer([slot])], box.height, box.width).rows
        label = folder / "labels" / file.relative_to(folder / "images").with_suffix(".txt")
        truth = np.loadtxt(label, ndmin=2).reshape(-1, 5) if label.is_file() else np.zeros((0, 5))
        centre, half = truth[:, 1:3] * [width, height], truth[:, 3:5] * [width, height] / 2
        correct.append(matched(box.to_source(rows[:, :4]), rows[:, 5], np.hstack([centre - half, centre + half]),
                               truth[:, 0]))  # fmt: skip
        scores.append(rows[:, 4])
        found.append(rows[:, 5])
        wanted.append(truth[:, 0])
    precision = ap_per_class(
        np.concatenate(correct), np.concatenate(scores), np.concatenate(found), np.concatenate(wanted)
    )[5]
    return Accuracy(
        runtime.info.name, runtime.info.runtime, runtime.info.precision, len(images), sum(map(len, wanted)),
        round(float(precision[:, 0].mean()), 4), round(float(precision.mean()), 4),
    )  # fmt: skip


def matched(
    boxes: NDArray[np.float32], class_ids: NDArray[np.float32], truth: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which boxes are right at each of `IOU_STEPS`, bool [N, 10]: greedily by overlap, one box for each true one."""
    import torch
    from ultralytics.utils.metrics import box_iou

    right = np.zeros((len(boxes), len(IOU_STEPS)), np.bool_)
    if not len(boxes) or not len(truth):
        return right
    overlap = box_iou(torch.from_numpy(truth).float(), torch.from_numpy(boxes)).numpy()
    overlap *= wanted[:, None] == class_ids[None, :]
    for step, least in enumerate(IOU_STEPS):
        pairs = np.argwhere(overlap >= least)
        pairs = pairs[np.argsort(-overlap[pairs[:, 0], pairs[:, 1]], kind="stable")]
        pairs = pairs[np.unique(pairs[:, 1], return_index=True)[1]]
        pairs = pairs[np.unique(pairs[:, 0], return_index=True)[1]]
        right[pairs[:, 1], step] = True
    return right


def main(
    model: Annotated[Path | None, typer.Argument(help="A model file; default: the shared yolov8n.pt.")] = None,
    images: Annotated[Path | None, typer.Option(help="A folder with images/ and labels/; default: coco128.")] = None,
    runtime: Annotated[str, typer.Option()] = "openvino",
    precision: Annotated[str, typer.Option()] = "fp32",
    calibration: Annotated[Path | None, typer.Option(help="A folder with pictures, for int8.")] = None,
) -> None:
    config = DetectorConfig.model_validate({
        "model": str(model or data_folder() / "weights" / "yolov8n.pt"), "runtime": runtime, "precision": precision,
        "calibration": calibration,
    })  # fmt: skip
    result = evaluate(config, images or data_folder() / "images" / "coco128")
    Console().print(asdict(result))
    Console().print(f"written to {save('accuracy', asdict(result))}")


if __name__ == "__main__":
    typer.run(main)
