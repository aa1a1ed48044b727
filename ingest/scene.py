"""Demo cameras: moving views over photographs, encoded to H.264 files that the ordinary file source reads.

A view pans and zooms on a closed path, so a file loops without a cut; sensor noise differs in every frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.errors import Reason, SourceError

NOISE_SIGMA = 4.0
NOISE_FIELDS = 8


@dataclass(frozen=True, slots=True)
class Scene:
    """A view over a photograph.

    Attributes:
        photo: file name within the ultralytics package's assets.
        fps: frames per second.
        seconds: length of the closed path.
        width, height: size of the picture, pixels.
        zoom: width of the view as a fraction of the widest one, at its narrowest.
        phase: where on the path the view begins, radians.
    """

    name: str
    photo: str
    fps: int
    seconds: int
    width: int
    height: int
    zoom: float
    phase: float = 0.0


SCENES = (
    Scene("street", "bus.jpg", 20, 10, 640, 360, 0.85),
    Scene("stage", "zidane.jpg", 25, 8, 640, 360, 0.75),
    Scene("stop", "bus.jpg", 15, 12, 640, 480, 0.8, math.pi),
)


def photo_path(name: str) -> Path:
    """A photograph that ships inside the ultralytics package, found without importing it."""
    spec = find_spec("ultralytics")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "assets" / name
        if path.is_file():
            return path
    raise SourceError(Reason.NOT_FOUND, f"the ultralytics package has no photograph {name}")


def view(scene: Scene, photo: NDArray[np.uint8], t: float) -> NDArray[np.uint8]:
    """The picture at `t` seconds, uint8 [height, width, 3] BGR, before noise."""
    turn = 2 * math.pi * t / scene.seconds + scene.phase
    photo_height, photo_width = photo.shape[:2]
    widest = min(photo_width, photo_height * scene.width / scene.height)
    width = widest * (scene.zoom + (1 - scene.zoom) * (0.5 + 0.5 * math.cos(turn)))
    height = width * scene.height / scene.width
    left = (photo_width - width) * (0.5 + 0.45 * math.sin(turn))
    top = (photo_height - height) * (0.5 + 0.3 * math.sin(2 * turn + 0.7))
    scale = scene.width / width
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    picture: NDArray[np.uint8] = cv2.warpAffine(
        photo, matrix, (scene.width, scene.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return picture


def encode(scene: Scene, path: Path) -> None:
    """Writes one round of the scene as H.264 in MP4, with exact timestamps and a key frame every second."""
    photo = cv2.imread(str(photo_path(scene.photo)))
    if photo is None:
        raise SourceError(Reason.CORRUPT, f"{scene.photo} cannot be read")
    rng = np.random.default_rng(len(scene.name))
    noise = [rng.normal(0, NOISE_SIGMA, (scene.height, scene.width, 3)).astype(np.int8) for _ in range(NOISE_FIELDS)]
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=scene.fps, options={"preset": "superfast", "crf": "24", "bf": "0"}
        )
        stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
        stream.codec_context.gop_size = scene.fps
        stream.codec_context.time_base = Fraction(1, scene.fps)
        for index in range(scene.fps * scene.seconds):
            grain = noise[index % NOISE_FIELDS]
            shifted = np.roll(grain, int(rng.integers(0, scene.width)), axis=1)
            picture = cv2.add(view(scene, photo, index / scene.fps), shifted, dtype=cv2.CV_8U)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def encoded(scene: Scene, folder: Path) -> Path:
    """The scene's file in `folder`, made when it is not there yet."""
    path = folder / f"{scene.name}-{scene.width}x{scene.height}-{scene.fps}fps.mp4"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        encode(scene, part)
        part.replace(path)
    return path
