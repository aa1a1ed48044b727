"""Pictures that show a model what it will see, so that its numbers can be given fewer bits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.errors import ModelError
from inference.input import InputSpec
from inference.letterbox import Letterbox

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
# More change the ranges of activations hardly any more (NNCF's own default is 300), and each costs two inferences.
MOST_PICTURES = 128


def evenly(files: Sequence[Path], most: int) -> list[Path]:
    """At most so many of them, from the first to the last, evenly spread."""
    chosen = np.linspace(0, len(files) - 1, min(len(files), most)).round().astype(int)
    return [files[index] for index in chosen]


class Calibration:
    """Pictures of a folder and its subfolders; of many, `MOST_PICTURES` evenly spread over the sorted names."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            ModelError: the folder has no pictures.
        """
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise ModelError(
                f"detector.calibration: {folder} has no pictures ({', '.join(sorted(SUFFIXES))}); give a folder with "
                "some dozens of your cameras' own"
            )
        self.files = evenly(files, MOST_PICTURES)

    def hash(self) -> str:
        """First 16 hex digits of a SHA-256 over the pictures' contents, in order; names do not count."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()[:16]

    def inputs(self, image_size: int, spec: InputSpec) -> Iterator[NDArray[np.float32]]:
        """What the model is fed for each picture: letterboxed as cameras are, normalised, float32 [1, 3, H, W].

        Raises:
            ModelError: a file is no picture.
        """
        for file in self.files:
            picture = cv2.imread(str(file))
            if picture is None:
                raise ModelError(f"detector.calibration: {file} cannot be read as a picture; remove or replace it")
            box = Letterbox.fit(picture.shape[1], picture.shape[0], image_size, spec)
            slot = np.empty((box.height, box.width, 3), np.uint8)
            box.apply(picture, slot)
            yield spec.blob([slot])
