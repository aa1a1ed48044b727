"""Pictures of a fixed camera, drawn for tests: a textured ground, things on it, and what disturbs."""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np
from numpy.typing import NDArray

from ingest.clock import NS, Clock
from ingest.frame import Frame
from ingest.privacy import PrivacyMasks

SIZE = (640, 360)
Box = tuple[float, float, float, float]


class Scenery:
    """Its frames come at `rate` Hz; `noise` is the sensor's, grey levels."""

    def __init__(self, size: tuple[int, int] = SIZE, rate: float = 25.0, noise: float = 2.0, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self._width, self._height = size
        coarse = self.rng.uniform(60, 170, (-(-size[1] // 20), -(-size[0] // 20)))
        self.ground = np.kron(coarse, np.ones((20, 20)))[: size[1], : size[0]]
        self.rate, self.noise = rate, noise

    def luma(self, things: Sequence[Box] = (), gain: float = 1.0, offset: float = 0.0) -> NDArray[np.float64]:
        """The ground with things, bright with a dark rim, float [height, width]."""
        picture = self.ground.copy()
        for x1, y1, x2, y2 in things:
            picture[max(0, round(y1)) : max(0, round(y2)), max(0, round(x1)) : max(0, round(x2))] = 225
            picture[max(0, round(y1) + 4) : max(0, round(y2) - 4), max(0, round(x1) + 4) : max(0, round(x2) - 4)] = 20
        picture = picture * gain + offset
        # In single precision: half of what a picture costs is this.
        noisy: NDArray[np.float64] = picture + self.noise * self.rng.standard_normal(picture.shape, np.float32)
        return noisy

    def frame(
        self, n: int, things: Sequence[Box] = (), gain: float = 1.0, offset: float = 0.0, *,
        luma: NDArray[np.float64] | None = None, masks: PrivacyMasks | None = None, pixels: str = "yuv420p",
    ) -> Frame:  # fmt: skip
        """Number `n`; from `luma` where that is given."""
        drawn = self.luma(things, gain, offset) if luma is None else luma
        return as_frame(drawn, n, self.rate, masks, pixels)


def as_frame(
    luma: NDArray[np.float64], n: int, rate: float, masks: PrivacyMasks | None = None, pixels: str = "yuv420p"
) -> Frame:
    height, width = luma.shape
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = luma.clip(0, 255).astype(np.uint8)
    image = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    pts_ns = round(n * NS / rate)
    if pixels != "yuv420p":
        image = image.reformat(format=pixels)
    return Frame("gate", 1, n, pts_ns, pts_ns, pts_ns, Clock.ARRIVAL, None, image, masks)
