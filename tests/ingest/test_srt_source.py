"""SRT from a real sender, in both directions, with and without a passphrase, and when it goes."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.scene import Scene, encode
from ingest.sources import libsrt, open_source
from ingest.sources.libsrt import library
from tests.srt import SrtSender, free_port, need_sender

PASSPHRASE = "correct horse & battery"
QUOTED = "correct%20horse%20%26%20battery"


@pytest.fixture(scope="module", autouse=True)
def srt() -> None:
    try:
        library()
    except SourceError as error:
        pytest.skip(error.detail)
    need_sender()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("srt") / "street.mp4"
    encode(Scene("street", "bus.jpg", 25, 2, 320, 240, 0.9), path)
    return path


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is free again after the test, as nothing of ours may keep it."""
    number = free_port()
    yield number
    ends = time.monotonic() + 10
    while True:  # libsrt closes in the background
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", number))
                return
            except OSError:
                assert time.monotonic() < ends, "the port is still taken"
        threading.Event().wait(0.05)


def config(port: int, options: str = "", timeout_s: float = 3.0, host: str = "127.0.0.1") -> SourceConfig:
    return SourceConfig(url=f"srt://{host}:{port}{options}", connect_timeout=timeout_s, read_timeout=timeout_s)


def read(settings: SourceConfig, count: int) -> list[tuple[int, int, int]]:
    """Width, height and time stamp of so many frames."""
    with open_source(settings) as source:
        frames = source.frames()
        taken = [next(frames) for _ in range(count)]
    return [(frame.width, frame.height, frame.pts or 0) for frame in taken]


def refusal(settings: SourceConfig) -> SourceError:
    with pytest.raises(SourceError) as refused, open_source(settings) as source:
        for _ in source.frames():
            pass
    return refused.value


def test_a_sender_that_listens_is_called(video: Path, port: int) -> None:
    with SrtSender(video, "listener", port), open_source(config(port)) as source:
        frames = source.frames()
        pictures = [next(frames) for _ in range(30)]
        assert source.description.startswith("h264 320x240")
    stamps = [picture.pts for picture in pictures]
    assert [later - earlier for earlier, later in pairwise(stamps)] == [3600] * 29


def test_a_sender_that_calls_is_awaited(video: Path, port: int) -> None:
    results: list[list[tuple[int, int, int]]] = []
    waiting = threading.Thread(target=lambda: results.append(read(config(port, host="", timeout_s=15), 10)))
    waiting.start()
    with SrtSender(video, "caller", port):
        waiting.join(30)
    assert [(width, height) for width, height, _ in results[0]] == [(320, 240)] * 10


def test_the_right_passphrase_opens_and_another_is_told_as_such(video: Path, port: int) -> None:
    with SrtSender(video, "listener", port, passphrase=PASSPHRASE):
        assert len(read(config(port, f"?passphrase={QUOTED}"), 5)) == 5
        wrong = refusal(config(port, "?passphrase=wrong-wrong-wrong"))
        assert (wrong.reason, "wrong-wrong-wrong" in wrong.detail) == (Reason.AUTH, False)
        assert "the passphrase is wrong" in wrong.detail
        missing = refusal(config(port))
        assert missing.reason is Reason.AUTH
        assert "add ?passphrase=" in missing.detail


def test_a_caller_with_another_passphrase_is_not_let_in(video: Path, port: int) -> None:
    results: list[SourceError] = []
    awaiting = config(port, f"?mode=listener&passphrase={QUOTED}", timeout_s=4)
    waiting = threading.Thread(target=lambda: results.append(refusal(awaiting)))
    waiting.start()
    with SrtSender(video, "caller", port, passphrase="wrong-wrong-wrong"):
        waiting.join(30)
    assert results[0].reason is Reason.TIMEOUT
    assert "no sender with the right passphrase called" in results[0].detail
    assert "horse" not in results[0].detail


def test_nobody_there_costs_no_more_than_the_time_out(port: int) -> None:
    for settings in (config(port, timeout_s=0.5), config(port, "?mode=listener", timeout_s=0.5)):
        began = time.monotonic()
        assert refusal(settings).reason is Reason.TIMEOUT
        assert time.monotonic() - began < 3


def test_a_sender_that_is_killed_is_lost_within_the_time_out_and_read_again_when_back(video: Path, port: int) -> None:
    with SrtSender(video, "listener", port) as sender, open_source(config(port, timeout_s=2)) as source:
        frames = source.frames()
        next(frames)
        sender.__exit__()
        began = time.monotonic()
        with pytest.raises(SourceError) as lost:
            for _ in frames:
                pass
        assert lost.value.reason in (Reason.TIMEOUT, Reason.LOST)
        assert time.monotonic() - began < 15
    with SrtSender(video, "listener", port):
        assert len(read(config(port), 5)) == 5


@pytest.mark.parametrize("silent", [False, True])
def test_a_sender_without_video_ends_the_connecting(port: int, silent: bool) -> None:
    """It stays connected and sends null packets, or nothing at all."""
    srt = library()
    listener = srt.srt_create_socket()
    place = libsrt._sockaddr("127.0.0.1", port)
    assert srt.srt_bind(listener, place, len(place)) == 0
    assert srt.srt_listen(listener, 1) == 0
    over = threading.Event()

    def send() -> None:
        link = srt.srt_accept(listener, None, None)
        packet = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 7
        while not over.wait(0.05):
            if not silent:
                srt.srt_sendmsg(link, packet, len(packet), -1, 1)
        srt.srt_close(link)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        began = time.monotonic()
        assert refusal(config(port, timeout_s=1)).reason in (Reason.TIMEOUT, Reason.NO_VIDEO)
        assert time.monotonic() - began < 15
    finally:
        over.set()
        sender.join(10)
        srt.srt_close(listener)


def test_reconnecting_leaks_no_file_and_no_thread(video: Path, port: int) -> None:
    def open_things() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    with SrtSender(video, "listener", port):
        read(config(port), 1)
        refusal(config(port, "?passphrase=wrong-wrong-wrong"))
        before = open_things()
        for _ in range(10):
            refusal(config(port, "?passphrase=wrong-wrong-wrong"))
        for _ in range(3):
            read(config(port), 1)
        ends = time.monotonic() + 15
        while (now := open_things()) > before and time.monotonic() < ends:
            threading.Event().wait(0.05)
        assert now <= before


def test_an_unknown_host_is_told_as_such(port: int) -> None:
    error = refusal(SourceConfig(url=f"srt://camera.invalid:{port}", connect_timeout=2))
    assert error.reason is Reason.UNREACHABLE
    assert "the host name camera.invalid is not known" in error.detail


def test_a_machine_without_libsrt_is_told_what_to_install(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libsrt, "LIBRARIES", ("libsrt-nowhere.so.1.5",))
    library.cache_clear()
    try:
        error = refusal(config(port))
    finally:
        monkeypatch.undo()
        library.cache_clear()
    assert error.reason is Reason.UNAVAILABLE
    assert "apt-get install libsrt1.5-openssl" in error.detail
