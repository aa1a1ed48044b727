"""URLs of SRT senders and capture devices: what they say, and what is wrong with them in words."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.addresses import CHECKS, CaptureDevice, SrtAddress
from ingest.config import SourceConfig
from ingest.redact import redact


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("srt://10.0.0.12:9000", SrtAddress("10.0.0.12", 9000, False, 120, None, None, 0)),
        ("srt://:9000", SrtAddress("", 9000, True, 120, None, None, 0)),
        ("srt://0.0.0.0:9000?mode=listener", SrtAddress("0.0.0.0", 9000, True, 120, None, None, 0)),
        (
            "srt://[fd00::7]:9000?mode=caller&latency=0&passphrase=p%40ss%26word+10&streamid=%23!::r=cam&pbkeylen=32",
            SrtAddress("fd00::7", 9000, False, 0, "p@ss&word 10", "#!::r=cam", 32),
        ),
    ],
)
def test_an_srt_url_says_whom_to_meet_and_how(url: str, expected: SrtAddress) -> None:
    assert SrtAddress.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("srt://10.0.0.12", "needs a port from 1 to 65535"),
        ("srt://10.0.0.12:0", "needs a port"),
        ("srt://10.0.0.12:70000", "needs a port"),
        ("srt://me:hunter2hunter2@10.0.0.12:9000", r"has `\?passphrase=…`"),
        ("srt://10.0.0.12:9000?mode=rendezvous", "mode=rendezvous is neither caller nor listener"),
        ("srt://:9000?mode=caller", "mode=caller needs the sender's host"),
        ("srt://10.0.0.12:9000?passphrase=hunter2", "the passphrase has 7 bytes; SRT takes 10 to 79"),
        ("srt://10.0.0.12:9000?passphrase=" + "x" * 80, "the passphrase has 80 bytes"),
        ("srt://10.0.0.12:9000?pasphrase=hunter2", "'pasphrase' is not an option of srt:// URLs; known: mode, latency"),
        ("srt://10.0.0.12:9000?latency=120000", "latency=120000 is not .* to 60000 milliseconds .FFmpeg and OBS"),
        ("srt://10.0.0.12:9000?latency=-1", "latency=-1 is not a whole number"),
        ("srt://10.0.0.12:9000?pbkeylen=17", "pbkeylen=17 is none of 16, 24 and 32"),
        ("srt://10.0.0.12:9000?latency=1&latency=2", "'latency' is given twice"),
        ("srt://:9000?streamid=x", "streamid is what a caller sends"),
        ("srt://10.0.0.12:9000?streamid=" + "x" * 513, "streamid is longer than 512 bytes"),
        ("v4l2:///dev/video0?fps=0", "fps=0 is not a whole number from 1 to 240"),
        ("v4l2://dev/video0", "has three slashes and its path"),
        ("v4l2:///etc/passwd", "has three slashes and its path"),
        ("v4l2:///dev/../etc/passwd", "has three slashes and its path"),
        ("v4l2:///dev/video0?width=1280", "width and height go together"),
        ("v4l2:///dev/video0?format=raw", "format=raw is none of mjpeg, yuyv, nv12"),
        ("/dev/video0?size=1", "'size' is not an option"),
    ],
)
def test_a_mistake_is_named_when_the_config_is_read(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as refused:
        SourceConfig(url=url)
    assert "hunter2" not in refused.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/dev/video0", CaptureDevice("/dev/video0")),
        (
            "v4l2:///dev/v4l/by-id/usb-Cam_1-video-index0?width=1280&height=720&fps=30&format=MJPEG",
            CaptureDevice("/dev/v4l/by-id/usb-Cam_1-video-index0", 1280, 720, 30, "mjpeg"),
        ),
    ],
)
def test_a_capture_device_is_known_by_path_or_url(url: str, expected: CaptureDevice) -> None:
    assert CaptureDevice.parse(url) == expected
    assert SourceConfig(url=url).scheme == "v4l2"
    assert SourceConfig(url=url).is_live


@given(st.sampled_from(["srt://", "v4l2://", "srt://h:9?", "srt://h:9?passphrase=", "v4l2:///dev/v?"]), st.text())
def test_any_text_is_an_address_or_an_error_in_words(start: str, rest: str) -> None:
    with contextlib.suppress(ValueError):
        CHECKS[start.split(":")[0]](start + rest)


def test_a_passphrase_and_a_streamid_are_shown_nowhere() -> None:
    url = "srt://10.0.0.12:9000?streamid=read:gate:viewer:hunter2&passphrase=correct-horse&latency=50"
    assert redact(url) == "srt://10.0.0.12:9000?streamid=***&passphrase=***&latency=50"
    assert "correct-horse" not in repr(SrtAddress.parse(url))
    assert "hunter2" not in repr(SrtAddress.parse(url))
