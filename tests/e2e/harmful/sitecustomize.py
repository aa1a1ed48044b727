"""Put on a service's PYTHONPATH: two kinds of source that do to their worker what FFmpeg can, at its worst.

`crash://` ends the process with a segmentation fault, `hang://` is in a call that does not return.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from typing import Any

import ingest.sources
from ingest.activity import Calls
from ingest.sources.packets import PacketCounts


class _Source:
    frame_rate: float | None = None
    decode_s = 0.0
    description = "harmful"
    decoder = "cpu"
    fallback: str | None = None
    calls = Calls()
    packets = PacketCounts()

    def __init__(self, config: Any) -> None:
        del config

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Crash(_Source):
    def frames(self) -> Iterator[Any]:
        time.sleep(0.5)
        ctypes.string_at(0)
        yield from ()


class Hang(_Source):
    def frames(self) -> Iterator[Any]:
        self.calls.enter(0.5)
        time.sleep(3600)
        yield from ()


ingest.sources.SCHEMES |= {"crash": "sitecustomize:Crash", "hang": "sitecustomize:Hang"}
