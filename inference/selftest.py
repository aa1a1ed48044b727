"""Whether a model gets the pictures it was trained on, tried out at load.

A wrong colour order or scale breaks nothing: the model just finds less, for ever. So it looks at two photographs of
people and a bus as it was described, and as it might have been meant. Colours are exaggerated, which a model that gets
them in its own order hardly notices. What it sees is scored by how much is found of what is there, and not beside it:
twice the scores of boxes that fit a known object, over the scores of all boxes and the number of objects.

What other descriptions do to pixels is done to the photographs, so that nothing is compiled again. As they stay 8-bit,
that is exact only where it makes numbers smaller: a model that wants 0 to 255 and gets 0 to 1 finds nothing either way,
and one that wants pictures normalised and gets 0 to 1 is not found out.

Measured at 320 x 320 in fp32, what is seen as described / with the best alternative:

| model      | described rightly | color swapped | scale 1     | ImageNet's mean and std,     | -1 to 1     |
|            |                   |               |             | wrongly there or not there   |             |
|------------|-------------------|---------------|-------------|------------------------------|-------------|
| yolox_nano | 0.80 / 0.76       | 0.62 / 0.80   | 0.03 / 0.55 | 0.75 / 0.76                  | 0.74 / 0.75 |
| yolov8n    | 0.79 / 0.73       | 0.73 / 0.79   | 0.00 / 0.41 | 0.00 / 0.79                  | 0.61 / 0.79 |
| starter    | 0.82 / 0.52       | 0.09 / 0.82   | 0.01 / 0.39 | 0.06 / 0.82                  | 0.34 / 0.82 |

All this takes such models about 0.4 s on two cores.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import structlog
from numpy.typing import NDArray

from inference.boxes import iou
from inference.errors import ModelError
from inference.heads import Head, load_head
from inference.input import InputSpec
from inference.letterbox import Letterbox
from inference.model import ModelInfo
from inference.runtimes import Runtime, probe_size
from ingest.errors import SourceError
from ingest.scene import photo_path

log = structlog.get_logger()

CONFIDENCE = 0.25
FITS_IOU = 0.5
SATURATION = 3.0
# An alternative that sees this much of the photographs, and this many times what the model sees as described, is right.
SEES = 0.25
CLEARLY = 1.2
PERHAPS = 1.05
# Alternatives not yet tried after this long are left out: large models on small CPUs.
BUDGET_S = 3.0

IMAGENET: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Scale, mean and std that models are trained with, the commonest first.
NORMALISATIONS: tuple[tuple[float, tuple[float, float, float], tuple[float, float, float]], ...] = (
    (255.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    (255.0, *IMAGENET),
    (255.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
)


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photograph in the ultralytics package, and the boxes in it, xyxy in its pixels, that any detector finds."""

    name: str
    boxes: tuple[tuple[int, int, int, int], ...]


PHOTOS = (
    _Photo("bus.jpg", ((50, 398, 245, 903), (670, 382, 810, 876), (222, 405, 345, 858), (0, 550, 62, 874),
                       (20, 228, 806, 750))),
    _Photo("zidane.jpg", ((112, 197, 1110, 712), (747, 42, 1140, 712))),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _View:
    """A photograph in a model's input."""

    picture: NDArray[np.uint8]
    letterbox: Letterbox
    boxes: NDArray[np.float32]


def self_test(runtime: Runtime, budget_s: float = BUDGET_S) -> None:
    """Tries a loaded model that is prepared for its probe size; takes `budget_s` and four inferences at most.

    Raises:
        ModelError: it sees clearly more when its pictures are made otherwise.
    """
    info = runtime.info
    try:
        views = [view(photo, info.input) for photo in PHOTOS]
    except SourceError as error:
        log.info("self-test skipped", model=info.name, why=str(error))
        return
    ends = time.monotonic() + budget_s
    head = load_head(info, CONFIDENCE, 0.7, None, 300)
    seen = {info.input: _sees(runtime, head, views, info.input)}
    for alternative in _alternatives(info.input):
        if time.monotonic() > ends:
            log.info("self-test cut short", model=info.name, after_s=budget_s)
            break
        seen[alternative] = _sees(runtime, head, views, alternative)
    _judge(info, seen)


def _judge(info: ModelInfo, seen: dict[InputSpec, float]) -> None:
    described = seen[info.input]
    best_spec = max(seen, key=lambda spec: seen[spec])
    same_color = replace(best_spec, color=info.input.color)
    if best_spec != same_color != info.input and seen[best_spec] < CLEARLY * seen[same_color]:
        best_spec = same_color  # two mistakes at once are told only when both are plain
    best = seen[best_spec]
    if best < SEES:
        # Scales that are too small cannot be tried; a model of people that sees nobody may have one.
        level = log.warning if "person" in info.names else log.info
        level("self-test saw nothing: if the model knows people, check color, scale, mean and std", model=info.name)
        return
    log.info("self-test", model=info.name, sees=round(described, 2), best=round(best, 2))
    if best < PERHAPS * described:
        return
    wrong = ", ".join(_differing(info.input, best_spec))
    if best < CLEARLY * described:
        log.warning("self-test: a little more is seen otherwise", model=info.name, as_if=wrong)
        return
    raise ModelError(
        f"{info.name} sees {described:.0%} of two test photographs as its input is described, and {best:.0%} with "
        f"{wrong}: mend that in its sidecar (docs/models.md), or say `self_test: false` there if it is right"
    )


def _differing(described: InputSpec, other: InputSpec) -> Iterator[str]:
    """The settings of the other description that differ, as a sidecar has them."""
    if other.color != described.color:
        yield f"`color: {other.color}`"
    if other.scale != described.scale:
        yield f"`scale: {other.scale:g}`"
    for name, value, was in (("mean", other.mean, described.mean), ("std", other.std, described.std)):
        if value != was:
            yield f"`{name}: {list(value)}`"


def _alternatives(described: InputSpec) -> Iterator[InputSpec]:
    """Other ways to make the same input, the most likely mistakes first."""
    other: dict[str, str] = {"rgb": "bgr", "bgr": "rgb"}
    yield replace(described, color=other[described.color])  # type: ignore[arg-type]
    for color, (scale, mean, std) in itertools.product((described.color, other[described.color]), NORMALISATIONS):
        if (scale, mean, std) != (described.scale, described.mean, described.std):
            yield replace(described, color=color, scale=scale, mean=mean, std=std)  # type: ignore[arg-type]


def view(photo: _Photo, spec: InputSpec, saturation: float = SATURATION) -> _View:
    """A photograph as a model sees it at its probe size.

    Raises:
        SourceError: it is missing.
    """
    picture = cv2.imread(str(photo_path(photo.name)))
    assert picture is not None, "it is part of the package"
    grey = picture.mean(axis=2, keepdims=True, dtype=np.float32)
    vivid = (grey + (picture - grey) * saturation).clip(0, 255).astype(np.uint8)
    height, width = probe_size(spec)
    letterbox = Letterbox.fit(
        picture.shape[1], picture.shape[0], max(height, width), replace(spec, fixed=(height, width))
    )
    slot = np.empty((height, width, 3), np.uint8)
    letterbox.apply(vivid, slot)
    return _View(slot, letterbox, np.array(photo.boxes, np.float32))


def as_if(picture: NDArray[np.uint8], described: InputSpec, other: InputSpec) -> NDArray[np.uint8]:
    """The BGR picture that, made into an input as `described`, is nearest to this one made into it as `other`."""
    pixels = (picture[..., ::-1] if other.color == "rgb" else picture).astype(np.float32)
    values = (pixels / other.scale - np.array(other.mean, np.float32)) / np.array(other.std, np.float32)
    wanted = described.scale * (np.array(described.mean, np.float32) + np.array(described.std, np.float32) * values)
    nearest = np.rint(wanted).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(nearest[..., ::-1] if described.color == "rgb" else nearest)


def _sees(runtime: Runtime, head: Head, views: list[_View], spec: InputSpec) -> float:
    """How well the views are seen when inputs are made as `spec` says, from 0 to 1."""
    fitting = total = known = 0.0
    for view in views:
        height, width = view.picture.shape[:2]
        outputs = [output[0] for output in runtime.infer([as_if(view.picture, runtime.info.input, spec)])]
        rows = head.decode(outputs, height, width).rows
        overlaps = iou(view.boxes, view.letterbox.to_source(rows[:, :4]))
        fitting += float(np.where(overlaps >= FITS_IOU, rows[:, 4], 0).max(axis=1, initial=0).sum())
        total += float(rows[:, 4].sum())
        known += len(view.boxes)
    return 2 * fitting / (total + known)
