"""From the picture to metres on the ground, by four points of which both are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.rules.config import GroundConfig

Homography = NDArray[np.float64]
"""float64 [3, 3]: (x, y, 1), as fractions of the frame's width and height, to (w X, w Y, w), metres from the first of
the four points. w is positive on the ground and negative above the horizon. All zeros: nothing is known of the ground.
"""

UNKNOWN: Homography = np.zeros((3, 3))


def homography(ground: GroundConfig) -> Homography:
    """The map that takes the four points of the picture to those on the ground."""
    picture = np.array(ground.picture, np.float64)
    metres = np.array(ground.metres, np.float64) - ground.metres[0]
    size = np.abs(metres).max()  # for an equation with numbers of one size
    rows, known = [], []
    for (x, y), (there_x, there_y) in zip(picture, metres / size, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -there_x * x, -there_x * y], [0, 0, 0, x, y, 1, -there_y * x, -there_y * y]]
        known += [there_x, there_y]
    found = np.append(np.linalg.solve(np.array(rows), np.array(known)), 1.0).reshape(3, 3)
    found *= np.sign(found[2] @ [*picture[0], 1.0])
    scaled: Homography = np.diag([size, size, 1.0]) @ found
    return scaled
