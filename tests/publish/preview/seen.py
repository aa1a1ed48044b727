"""Frames and what was said of them, for tests of what viewers see."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from ingest.clock import Clock
from ingest.frame import Frame
from ingest.privacy import PrivacyMasks
from publish.schema import FrameResult, Model, ObjectSeen, Size
from tests.ingest.scenery import as_frame

Box = tuple[float, float, float, float]
GREY = 128


def frame(
    n: int, size: tuple[int, int] = (320, 180), session: int = 1, rate: float = 25.0, level: float = GREY,
    masks: PrivacyMasks | None = None, luma: NDArray[np.float64] | None = None,
) -> Frame:  # fmt: skip
    """Number `n` of a grey scene, or of `luma`."""
    width, height = size
    made = as_frame(np.full((height, width), level) if luma is None else luma, n, rate, masks)
    image = made._native
    image.pts, image.time_base = 1000 + n, Fraction(1, 25)
    return Frame("gate", session, n, made.pts_ns, made.arrival_ns, made.captured_at, Clock.ARRIVAL, None, image, masks)


def result(of: Frame, *boxes: Box, track_ids: bool = True, name: str = "person") -> FrameResult:
    objects = [
        ObjectSeen(track_id=n + 1 if track_ids else None, class_id=0, class_name=name, confidence=0.9, box=box)
        for n, box in enumerate(boxes)
    ]
    return FrameResult(
        site="test", stream=of.stream, session=of.session, seq=of.seq, pts=of.pts_ns / 1e9,
        captured_at=datetime.fromtimestamp(of.captured_at / 1e9, UTC), clock=Clock.ARRIVAL, uncertainty=None,
        latency_ms=1.0, frame=Size(width=of.width, height=of.height),
        model=Model(name="m", hash="0" * 16, runtime="openvino", precision="fp32"), config_rev="0", objects=objects,
        analysed=True,
    )  # fmt: skip


def decoded(codec: str, *pictures: bytes) -> list[NDArray[np.uint8]]:
    """What a decoder makes of them, BGR."""
    decoder = av.CodecContext.create(codec, "r")
    frames: list[av.VideoFrame] = []
    for one in pictures:
        frames += decoder.decode(av.Packet(one))
    frames += decoder.decode(None)
    return [frame.to_ndarray(format="bgr24") for frame in frames]
