"""A camera that changes its picture's size or its codec while it is watched."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.sources import open_source
from tests.ingest.clips import encoded
from tests.ingest.servers import chunks, endless, http_server

FAST = {"preset": "ultrafast", "tune": "zerolatency"}


def h264(size: tuple[int, int], first_pts: int, frames: int = 20, rate: int = 10) -> bytes:
    return encoded(frames=frames, size=size, options=FAST, first_pts=first_pts, rate=rate)


def test_a_stream_that_switches_its_size_goes_on_with_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "switching.ts"
    sizes = [(128, 96), (320, 240), (64, 48)]
    path.write_bytes(b"".join(h264(size, 20 * number) for number, size in enumerate(sizes)))
    with open_source(SourceConfig(url=str(path))) as source:
        frames = list(source.frames())
    assert [(frame.width, frame.height) for frame in frames] == [size for size in sizes for _ in range(20)]


def test_a_stream_that_switches_its_rate_goes_on_with_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "switching.ts"
    path.write_bytes(h264((128, 96), 0) + h264((128, 96), 60, frames=30, rate=30))
    with open_source(SourceConfig(url=str(path))) as source:
        seconds = [float(frame.pts * frame.time_base) for frame in source.frames()]
    assert len(seconds) == 50
    assert np.diff(seconds)[20:] == pytest.approx(1 / 30, abs=0.001)


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    stop = threading.Event()
    yield stop
    stop.set()


@pytest.mark.parametrize("other", ["libx265", "mpeg4"])
def test_another_codec_ends_the_session_and_the_next_one_reads_it(other: str, stop: threading.Event) -> None:
    options = {"x265-params": "log-level=none", "preset": "ultrafast"} if other == "libx265" else {}
    after = encoded(codec=other, frames=200, options=options, first_pts=30)
    served = iter([h264((128, 96), 0, frames=30) + after, after])

    def parts() -> Iterator[bytes]:
        return chunks(next(served), 7 * 188)()

    with http_server({"/live": endless(parts, "video/mp2t", stop, 0.01)}) as server:
        config = SourceConfig(url=f"{server}/live", read_timeout=1, connect_timeout=20)
        frames = 0
        with open_source(config) as source, pytest.raises(SourceError) as caught:
            for _ in source.frames():
                frames += 1
        assert frames >= 29
        assert caught.value.reason in (Reason.CHANGED, Reason.CORRUPT, Reason.STALLED)
        with open_source(config) as source:
            assert next(iter(source.frames())).width == 128
            assert source.description.startswith({"libx265": "hevc", "mpeg4": "mpeg4"}[other])


@contextmanager
def udp_camera(data: bytes, lose: Callable[[int], bool] = lambda number: False) -> Iterator[str]:
    """MPEG-TS over and over in datagrams of seven packets, without those that get lost."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stop = threading.Event()

    def send() -> None:
        number = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not stop.is_set():
                for start in range(0, len(data), 7 * 188):
                    number += 1
                    if not lose(number):
                        sender.sendto(data[start : start + 7 * 188], ("127.0.0.1", port))
                    if stop.wait(0.002):
                        return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield f"udp://127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join()


def read(url: str, count: int, **settings: Any) -> int:
    with open_source(SourceConfig(url=url, connect_timeout=20, read_timeout=10, **settings)) as source:
        return sum(1 for _, _frame in zip(range(count), source.frames(), strict=False))


def test_mpeg_ts_over_udp() -> None:
    with udp_camera(h264((128, 96), 0, frames=50)) as url:
        assert read(url, 100) == 100


def test_lost_datagrams_cost_frames_and_not_the_session() -> None:
    with udp_camera(h264((128, 96), 0, frames=50), lose=lambda number: number % 5 == 0) as url:
        assert read(url, 100) == 100


def test_a_port_to_which_nobody_sends_times_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceError) as caught:
        open_source(SourceConfig(url=f"udp://127.0.0.1:{port}", connect_timeout=0.5)).__enter__()
    assert caught.value.reason is Reason.TIMEOUT
