"""The process that tries a camera's settings: what FFmpeg hangs or crashes on takes nobody else with it.

| runs     | where                         | ends                                            |
|----------|-------------------------------|-------------------------------------------------|
| `_watch` | the main thread               | when the supervisor says so, kills it or is gone |
| `_try`   | a daemon thread               | when it has answered                            |

It is forked with its imports done (`vigil/forkserver.py`), and asked one thing.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import asdict, dataclass
from typing import Any

from ingest.clock import Clock
from ingest.errors import Reason, SourceError, VigilError
from ingest.frame import Frame
from ingest.sources import open_source
from publish.media.jpeg import fitted, jpeg_within
from vigil import logging
from vigil.config import StreamConfig
from vigil.control import Control, Order

MAX_SIDE_PX = 960
QUALITY = 80
MOST_BYTES = 1 << 20
_CODEC = re.compile(r"^(\w+) \d+x\d+")


@dataclass(frozen=True, slots=True)
class Found:
    """What a camera sent; its picture's `bytes` were written to the file that was lent."""

    description: str
    codec: str | None
    width: int
    height: int
    fps: float | None
    bytes: int


def look(config: StreamConfig, into: int) -> Found:
    """Connects, decodes a frame and writes it to the file descriptor `into` as JPEG, behind the privacy masks.

    Raises:
        SourceError, JpegError
    """
    # Every frame is wanted, and what decodes on a GPU does not belong into a process of moments.
    with open_source(config.model_copy(update={"fps": None, "decoder": "cpu"})) as source:
        picture = next(iter(source.frames()), None)
        if picture is None:
            raise SourceError(Reason.NO_VIDEO, "not one frame could be decoded")
        frame = Frame("probe", 0, 0, 0, 0, 0, Clock.ARRIVAL, None, picture, config.masks)
        data = jpeg_within(fitted(frame.bgr(), MAX_SIDE_PX), QUALITY, MAX_SIDE_PX, MOST_BYTES)
        with os.fdopen(os.dup(into), "wb") as memory:
            memory.write(data)
        codec = _CODEC.match(source.description)
        return Found(
            source.description, codec and codec[1], frame.width, frame.height, source.frame_rate, len(data)
        )  # fmt: skip


def _try(control: Control, order: Order) -> None:
    reply: dict[str, Any]
    try:
        found = look(StreamConfig.model_validate(order.data["asked"]["settings"]), order.fds[0])
        reply = {"answer": {"found": asdict(found)}}
    except SourceError as error:
        reply = {"answer": {"reason": error.reason.value, "detail": error.detail}}
    except VigilError as error:
        reply = {"answer": {"reason": Reason.CORRUPT.value, "detail": str(error)}}
    except Exception as error:  # whatever a library makes of what a camera sends
        reply = {"refused": {"code": "probe.failed", "message": type(error).__name__}}
    control.send("answer", number=order.data["number"], **reply)


def main(control: Control) -> None:
    logging.configure(level="debug", style="json")
    control.send("ready")
    try:
        while (order := control.receive()) is not None and order.kind != "stop":
            if order.kind == "ask":
                threading.Thread(target=_try, args=(control, order), name="try", daemon=True).start()
    except EOFError:
        pass  # the supervisor is gone
    os._exit(0)  # the thread may be stuck in FFmpeg
