"""A recording in which every frame says its number and somebody walks at a known pace.

What is drawn on it can be checked against the picture itself.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from ingest.scene import photo_path

WIDTH, HEIGHT, FPS = 320, 240, 10
# Out and back, STEP pixels a frame: a box that is a frame late is off by 3 % of the picture.
STEP, TURN = 10, 24
FRAMES = 2 * TURN
# The number, in squares of this size along the top, least significant bit first; white is 1.
BITS, SQUARE = 6, 20
# Where somebody stands in a photograph of the ultralytics package, and how high they are here: pixels.
SOMEBODY = (slice(395, 870), slice(215, 350))
TALL, TOP = 170, 50


def left_of(number: int) -> int:
    """Where the walker's picture begins in a frame, pixels."""
    number %= FRAMES
    return 8 + STEP * (number if number < TURN else FRAMES - number)


def record(path: Path) -> None:
    """Writes one round, `FRAMES` long, as H.264 without B-frames and with a key frame a second."""
    photo = cv2.imread(str(photo_path("bus.jpg")))
    assert photo is not None
    somebody = photo[SOMEBODY]
    somebody = cv2.resize(somebody, (somebody.shape[1] * TALL // somebody.shape[0], TALL), interpolation=cv2.INTER_AREA)
    ground = np.repeat(np.linspace(150, 110, HEIGHT, dtype=np.uint8)[:, None], WIDTH, 1)
    ground = cv2.cvtColor(ground, cv2.COLOR_GRAY2BGR)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "fast", "crf": "18", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = FPS
        stream.codec_context.time_base = Fraction(1, FPS)
        for number in range(FRAMES):
            picture = ground.copy()
            left = left_of(number)
            picture[TOP : TOP + TALL, left : left + somebody.shape[1]] = somebody
            for bit in range(BITS):
                picture[:SQUARE, bit * SQUARE : (bit + 1) * SQUARE] = 255 if number >> bit & 1 else 0
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
