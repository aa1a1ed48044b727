"""What the URLs of SRT senders and of capture devices say; every mistake in one is named with its mend."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit

# libsrt's own limits.
PASSPHRASE_LENGTHS = range(10, 80)
STREAM_ID_BYTES = 512
KEY_LENGTHS = (0, 16, 24, 32)
MAX_LATENCY_MS = 60_000


@dataclass(frozen=True, slots=True)
class SrtAddress:
    """`srt://host:port?mode=caller&latency=120&passphrase=…&streamid=…&pbkeylen=16`; latency in milliseconds.

    As caller we connect to a sender that listens; as listener we wait for a sender on our own `host:port`, where no
    host means every interface.
    """

    host: str
    port: int
    listens: bool
    latency_ms: int
    passphrase: str | None
    streamid: str | None
    pbkeylen: int

    def __repr__(self) -> str:
        return f"SrtAddress({self.host}:{self.port}, {'listener' if self.listens else 'caller'})"

    @classmethod
    def parse(cls, url: str) -> SrtAddress:
        """
        Raises:
            ValueError: it is not such a URL; the message shows no secret.
        """
        parts, options = _split(url, ("mode", "latency", "passphrase", "streamid", "pbkeylen"))
        try:
            port = parts.port
        except ValueError:
            port = None
        if not port:
            raise ValueError("an SRT URL needs a port from 1 to 65535, as in srt://10.0.0.12:9000")
        if parts.username is not None:
            raise ValueError("SRT has no user and password; it has `?passphrase=…` and `&streamid=…`")
        mode = options.get("mode", "caller" if parts.hostname else "listener")
        if mode not in ("caller", "listener"):
            raise ValueError(f"mode={mode} is neither caller nor listener")
        if mode == "caller" and not parts.hostname:
            raise ValueError("mode=caller needs the sender's host, as in srt://10.0.0.12:9000?mode=caller")
        passphrase = options.get("passphrase")
        if passphrase is not None and len(passphrase.encode()) not in PASSPHRASE_LENGTHS:
            raise ValueError(f"the passphrase has {len(passphrase.encode())} bytes; SRT takes 10 to 79")
        streamid = options.get("streamid")
        if streamid is not None and len(streamid.encode()) > STREAM_ID_BYTES:
            raise ValueError(f"the streamid is longer than {STREAM_ID_BYTES} bytes")
        if streamid is not None and mode == "listener":
            raise ValueError("streamid is what a caller sends; remove it, or use mode=caller")
        latency = _number(
            options, "latency", 120, 0, MAX_LATENCY_MS, " milliseconds (FFmpeg and OBS write microseconds)"
        )
        pbkeylen = _number(options, "pbkeylen", 0, 0, 32, "")
        if pbkeylen not in KEY_LENGTHS:
            raise ValueError(f"pbkeylen={pbkeylen} is none of 16, 24 and 32 (or 0: the sender decides)")
        return cls(parts.hostname or "", port, mode == "listener", latency, passphrase, streamid, pbkeylen)


@dataclass(frozen=True, slots=True)
class CaptureDevice:
    """`/dev/video0` or `v4l2:///dev/video0?width=1280&height=720&fps=30&format=mjpeg`.

    What is not given the driver decides.
    """

    path: str
    width: int | None = None
    height: int | None = None
    fps: int | None = None
    format: str | None = None

    @classmethod
    def parse(cls, url: str) -> CaptureDevice:
        """
        Raises:
            ValueError: it is not such a URL.
        """
        parts, options = _split(url, ("width", "height", "fps", "format"))
        if parts.netloc or not re.fullmatch(r"/dev/[A-Za-z0-9_./:-]+", parts.path) or ".." in parts.path:
            raise ValueError("a capture device's URL has three slashes and its path, as in v4l2:///dev/video0")
        if ("width" in options) != ("height" in options):
            raise ValueError("width and height go together, as in v4l2:///dev/video0?width=1280&height=720")
        width, height = (_number(options, name, 0, 16, 16_384, " pixels") or None for name in ("width", "height"))
        fps = _number(options, "fps", 0, 1, 240, " frames a second") or None
        kind = options.get("format")
        if kind is not None and kind.lower() not in PIXEL_FORMATS:
            raise ValueError(f"format={kind} is none of {', '.join(PIXEL_FORMATS)}")
        return cls(parts.path, width, height, fps, kind.lower() if kind else None)


# By what users call them: V4L2's four characters.
PIXEL_FORMATS = {"mjpeg": "MJPG", "yuyv": "YUYV", "nv12": "NV12"}

# Schemes whose URLs can be judged without connecting.
CHECKS: dict[str, Callable[[str], object]] = {"srt": SrtAddress.parse, "v4l2": CaptureDevice.parse}


def _split(url: str, known: tuple[str, ...]) -> tuple[SplitResult, dict[str, str]]:
    parts = urlsplit(url)
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"{name!r} is not an option of {parts.scheme}:// URLs; known: {', '.join(known)}")
        if name in options:
            raise ValueError(f"{name!r} is given twice; keep one")
        options[name] = value
    return parts, options


def _number(options: dict[str, str], name: str, default: int, lowest: int, highest: int, unit: str) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
        raise ValueError(f"{name}={text[:20]} is not a whole number from {lowest} to {highest}{unit}")
    return int(text)
