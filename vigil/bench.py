"""What a model makes of this machine, in each way in which it can be computed: how fast, how soon, and how rightly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.boxes import iou
from inference.calibration import Calibration, evenly
from inference.config import DetectorConfig
from inference.cost import saturate
from inference.errors import ModelError
from inference.found import Rows
from inference.heads import load_head
from inference.letterbox import PAD_VALUE, Letterbox
from inference.model import find_model
from inference.runtimes import Picture, Runtime, load_runtime
from inference.runtimes.auto import CAMERA, candidates, devices
from inference.runtimes.triton_model import is_triton
from inference.selftest import PHOTOS
from ingest.scene import photo_path

SIZES = (320, 416, 640)
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
WARM_S = 0.3
# So many pictures are looked at to say how rightly a model sees.
LOOKED_AT = 16
CONFIDENCE = 0.25
SAME_IOU = 0.5

Image = NDArray[np.uint8]


class Way(NamedTuple):
    """How a model may be computed, as in `detector`'s settings."""

    device: str
    runtime: str
    precision: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A model in one way, with as many requests at once as the runtime likes.

    Attributes:
        input: WIDTHxHEIGHT that a picture of a camera has there.
        fps: frames a second.
        p50_ms, p99_ms: how long a request of `batch` frames took.
        found: which part of the boxes of the first way there is, fp32 where that can be computed, is found in this one;
            None where there are none.
        score_drift: mean absolute difference of their scores.
    """

    model: str
    device: str
    runtime: str
    precision: str
    input: str
    batch: int
    fps: float
    p50_ms: float
    p99_ms: float
    found: float | None
    score_drift: float | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A way in which a model cannot be computed here."""

    model: str
    way: Way
    why: str


def photos(folder: Path | None) -> list[Image]:
    """Pictures from the folder, or two that come with a package, BGR, padded to the shape of a camera's.

    Raises:
        ModelError: there is none in the folder.
        SourceError: the package's are not there.
    """
    files = [photo_path(photo.name) for photo in PHOTOS] if folder is None else Calibration(folder).files
    pictures = [cv2.imread(str(file)) for file in evenly(files, LOOKED_AT)]
    return [_widened(picture) for picture in pictures if picture is not None]


def _widened(picture: Image) -> Image:
    height, width = picture.shape[:2]
    across, down = CAMERA
    below, beside = max(0, round(width * down / across) - height), max(0, round(height * across / down) - width)
    wide: Image = cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=(PAD_VALUE,) * 3)
    return wide


def ways(model: str, file: Path, quantises: bool) -> list[Way]:
    """How a model, found in `file`, may be computed on this machine; `quantises`: there are pictures to do that on."""
    if is_triton(model):
        return [Way("auto", "triton", "auto")]
    return [
        Way(device, runtime, precision)
        for device in devices("auto")
        for precision in PRECISIONS
        for runtime in candidates(file, device, precision)
        if precision != "int8" or quantises
    ]


def bench(
    model: str, sizes: Sequence[int], folder: Path | None, seconds: float, tell: Callable[[str], None],
    chosen: Sequence[Way] | None = None,
) -> Iterator[Measured | Refused]:  # fmt: skip
    """Measures the model at each image size in each way there is, or those chosen, for so many seconds each.

    Ways that come to the same, as of models of one size or one precision, are measured once.

    Args:
        folder: pictures to quantise on and to look at; None: no int8, and the package's are looked at.

    Raises:
        ModelError: there is no such model, or no picture in the folder.
        SourceError: as `photos`.
    """
    file = find_model(model)[0]
    pictures = photos(folder)
    chosen = chosen or ways(model, file, quantises=folder is not None)
    known = set()
    for size in sizes:
        reference: list[Rows] | None = None
        for way in chosen:
            tell(f"{file.name} at {size} px: {way.runtime} {way.precision} on {way.device}")
            try:
                runtime = load_runtime(file, DetectorConfig(
                    model=model, image_size=size, device=way.device, runtime=way.runtime, precision=way.precision,
                    calibration=folder,
                ))  # fmt: skip
                box = Letterbox.fit(*CAMERA, size, runtime.info.input)
                this = (runtime.info.device, runtime.info.runtime, runtime.info.precision, box.width, box.height)
                if this in known:
                    continue
                known.add(this)
                runtime.prepare(box.height, box.width)
                seen = detections(runtime, pictures, size)
                reference = seen if reference is None else reference
                yield _timed(runtime, box, seconds, *agreement(seen, reference))
            except Exception as error:  # whatever a runtime raises: the other ways are measured
                why = str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
                yield Refused(file.name, way, why)


def _timed(runtime: Runtime, box: Letterbox, seconds: float, found: float | None, drift: float | None) -> Measured:
    batch: list[Picture] = [np.zeros((box.height, box.width, 3), np.uint8)] * runtime.max_batch
    saturate(runtime, batch, WARM_S)
    began = time.monotonic()
    calls = saturate(runtime, batch, seconds)
    took_s = time.monotonic() - began
    p50, p99 = np.percentile(np.array(calls) * 1e3, [50, 99]).tolist()
    info = runtime.info
    return Measured(
        info.name, info.device, info.runtime, info.precision, f"{box.width}x{box.height}", len(batch),
        round(len(calls) * len(batch) / took_s, 1), round(p50, 1), round(p99, 1), found, drift,
    )  # fmt: skip


def detections(runtime: Runtime, pictures: Sequence[Image], size: int) -> list[Rows]:
    """What the model sees in each picture, all of the shape that it is prepared for."""
    head = load_head(runtime.info, CONFIDENCE, 0.7, None, 300)
    seen = []
    for picture in pictures:
        box = Letterbox.fit(picture.shape[1], picture.shape[0], size, runtime.info.input)
        slot = np.empty((box.height, box.width, 3), np.uint8)
        box.apply(picture, slot)
        outputs = [output[0] for output in runtime.infer([slot])]
        seen.append(head.decode(outputs, box.height, box.width).rows)
    return seen


def agreement(seen: Sequence[Rows], reference: Sequence[Rows]) -> tuple[float | None, float | None]:
    """Which part of the boxes of `reference` is there too, of the same class, and how far their scores are apart."""
    differences, count = [], 0
    for rows, expected in zip(seen, reference, strict=True):
        count += len(expected)
        alike = np.where(expected[:, None, 5] == rows[:, 5], iou(expected[:, :4], rows[:, :4]), 0)
        for row, likeness in zip(expected, alike, strict=True):
            if likeness.max(initial=0) >= SAME_IOU:
                twin = likeness.argmax()
                differences.append(abs(float(rows[twin, 4] - row[4])))
                alike[:, twin] = 0
    if not count:
        return None, None
    return round(len(differences) / count, 3), round(float(np.mean(differences)), 4) if differences else None
