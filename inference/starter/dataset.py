"""Composes the starter detector's training pictures and has the teacher label them.

A picture is a random view (crop, zoom, mirror) of a video frame or photograph, sometimes with objects from other
pictures pasted in, then made to look like it came from a camera (light, blur, sensor noise, compression).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from ultralytics import YOLO
from ultralytics.utils import ASSETS

Image = NDArray[np.uint8]

# COCO class id -> (our class id, name)
CLASSES = {0: (0, "person"), 1: (1, "bicycle"), 2: (2, "car"), 3: (3, "motorcycle"), 5: (4, "bus"), 7: (5, "truck")}
NAMES = [name for _, name in CLASSES.values()]
LONG_SIDE = 416
ASPECTS = (16 / 9, 16 / 9, 4 / 3, 1.0, 3 / 4)


@dataclass(frozen=True, slots=True)
class Source:
    """Pictures of one origin: `weight` is its share of the composed set, `zoom` the smallest crop (1 = whole)."""

    name: str
    images: list[Image]
    weight: float
    zoom: float


def video_frames(path: Path, step: int, start: float = 0.0, end: float = 1.0) -> list[Image]:
    """Every `step`-th frame of the part of a video between the fractions `start` and `end`."""
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise SystemExit(f"cannot open {path}")
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    frames = []
    for index in range(count):
        ok, frame = video.read()
        if ok and start * count <= index < end * count and index % step == 0:
            frames.append(frame)
    return frames


def photos(folder: Path, part: slice) -> list[Image]:
    return [cv2.imread(str(path)) for path in sorted(folder.glob("*.jpg"))[part]]


def training_sources(data: Path) -> list[Source]:
    """Only pictures whose licence allows a derived model: the videos marked CC BY, coco128, the package's photos."""
    coco = data / "images/coco128/images/train2017"
    return [
        Source("bus", [cv2.imread(str(ASSETS / "bus.jpg"))], 0.2, 0.4),
        Source("zidane", [cv2.imread(str(ASSETS / "zidane.jpg"))], 0.15, 0.4),
        Source("car-park", video_frames(data / "videos/person-bicycle-car-detection.mp4", 2, 0, 0.8), 0.27, 0.4),
        Source("bottle", video_frames(data / "videos/bottle-detection.mp4", 30), 0.03, 0.5),
        Source("coco", photos(coco, slice(0, 112)), 0.35, 0.6),
    ]


def held_out_sources(data: Path) -> list[Source]:
    """Frames that no training picture shows; the crowd and PETS scenes are new to the model altogether."""
    coco = data / "images/coco128/images/train2017"
    return [
        Source("car-park", video_frames(data / "videos/person-bicycle-car-detection.mp4", 2, 0.8, 1), 1, 1),
        Source("coco", photos(coco, slice(112, 128)), 1, 1),
        Source("pets", video_frames(data / "videos/PETS09-S2L1.mp4", 5), 1, 1),
        Source("crowd", video_frames(data / "videos/pedestrian-crowd.avi", 10), 1, 1),
    ]


class Teacher:
    """Labels pictures with the classes of `CLASSES`; boxes are float32 [N, 4] xyxy pixels."""

    def __init__(self, weights: Path) -> None:
        self._model = YOLO(str(weights))

    def label(self, images: list[Image], confidence: float) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        for start in range(0, len(images), 16):
            batch = images[start : start + 16]
            for result in self._model.predict(
                batch, conf=confidence, imgsz=640, classes=list(CLASSES), verbose=False, rect=True
            ):
                boxes = result.boxes.cpu().numpy()
                yield boxes.xyxy, np.array([CLASSES[int(c)][0] for c in boxes.cls], dtype=np.int32)


def object_bank(sources: list[Source], teacher: Teacher) -> dict[int, list[Image]]:
    """Well-seen objects cut out by the teacher's boxes, by class."""
    bank: dict[int, list[Image]] = {index: [] for index in range(len(NAMES))}
    for source in sources:
        step = 8 if source.name == "car-park" else 1
        images = source.images[::step]
        for image, (boxes, classes) in zip(images, teacher.label(images, 0.6), strict=True):
            for (x1, y1, x2, y2), class_id in zip(boxes.astype(int), classes, strict=True):
                if min(x2 - x1, y2 - y1) >= 40:
                    bank[int(class_id)].append(image[y1:y2, x1:x2].copy())
    return bank


def random_view(image: Image, zoom: float, rng: random.Random) -> Image:
    height, width = image.shape[:2]
    aspect = rng.choice(ASPECTS)
    crop_w = min(width, height * aspect) * rng.uniform(zoom, 1)
    crop_h = crop_w / aspect
    x, y = rng.uniform(0, width - crop_w), rng.uniform(0, height - crop_h)
    crop = image[int(y) : int(y + crop_h), int(x) : int(x + crop_w)]
    scale = LONG_SIDE / max(crop.shape[:2])
    size = (max(32, round(crop.shape[1] * scale)), max(32, round(crop.shape[0] * scale)))
    view = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return view[:, ::-1].copy() if rng.random() < 0.5 else view


def paste_objects(view: Image, bank: dict[int, list[Image]], rng: random.Random) -> None:
    """Pastes one to three objects with soft edges, each class equally often; changes `view`."""
    height, width = view.shape[:2]
    filled = [index for index, objects in bank.items() if objects]
    for _ in range(rng.randint(1, 3)):
        piece = rng.choice(bank[rng.choice(filled)])
        scale = rng.uniform(0.15, 0.7) * height / piece.shape[0]
        w, h = int(piece.shape[1] * scale), int(piece.shape[0] * scale)
        if w < 12 or h < 12 or w >= width or h >= height:
            continue
        piece = cv2.resize(piece, (w, h), interpolation=cv2.INTER_AREA)
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        x, y = rng.randint(0, width - w), rng.randint(0, height - h)
        mask = np.zeros((h, w), np.float32)
        edge_x, edge_y = max(1, w // 16), max(1, h // 16)
        mask[edge_y:-edge_y, edge_x:-edge_x] = 1
        mask = cv2.blur(mask, (2 * edge_x + 1, 2 * edge_y + 1))[..., None]
        spot = view[y : y + h, x : x + w]
        spot[:] = (piece * mask + spot * (1 - mask)).astype(np.uint8)


def camera_look(view: Image, rng: random.Random, np_rng: np.random.Generator) -> Image:
    """Light, focus, sensor noise and compression as cameras add them."""
    look = view.astype(np.float32) * rng.uniform(0.55, 1.35) + rng.uniform(-20, 20)
    if rng.random() < 0.6:
        look += np_rng.normal(0, rng.uniform(1, 9), look.shape).astype(np.float32)
    look = np.clip(look, 0, 255)
    if rng.random() < 0.3:
        look = cv2.GaussianBlur(look, (0, 0), rng.uniform(0.4, 1.4))
    quality = [cv2.IMWRITE_JPEG_QUALITY, rng.randint(30, 95)]
    return cv2.imdecode(cv2.imencode(".jpg", look.astype(np.uint8), quality)[1], cv2.IMREAD_COLOR)


def compose(sources: list[Source], bank: dict[int, list[Image]], count: int, seed: int) -> list[Image]:
    rng, np_rng = random.Random(seed), np.random.default_rng(seed)
    images = []
    for source in rng.choices(sources, [s.weight for s in sources], k=count):
        view = random_view(rng.choice(source.images), source.zoom, rng)
        if rng.random() < 0.35:
            paste_objects(view, bank, rng)
        images.append(camera_look(view, rng, np_rng))
    return images


def write_split(folder: Path, split: str, images: list[Image], teacher: Teacher) -> Path:
    """Writes images and YOLO label files of one split; returns the dataset's YAML for it."""
    pictures, labels = folder / "images" / split, folder / "labels" / split
    pictures.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    for index, (image, (boxes, classes)) in enumerate(zip(images, teacher.label(images, 0.3), strict=True)):
        height, width = image.shape[:2]
        cv2.imwrite(str(pictures / f"{index:05}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        rows = []
        for (x1, y1, x2, y2), class_id in zip(boxes, classes, strict=True):
            centre = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height)
            rows.append(f"{class_id} {centre[0]:.6f} {centre[1]:.6f} {(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}")
        (labels / f"{index:05}.txt").write_text("\n".join(rows))
    names = "\n".join(f"  {index}: {name}" for index, name in enumerate(NAMES))
    spec = folder / f"{split}.yaml"
    spec.write_text(f"path: {folder.resolve()}\ntrain: images/train\nval: images/{split}\nnames:\n{names}\n")
    return spec
