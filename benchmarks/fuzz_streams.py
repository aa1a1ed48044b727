"""Small healthy streams in every codec and container we read, and seeded ways to damage them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 10
FRAMES = 16
# Two sizes of each, so that parts of one can get into the other.
SIZES = ((128, 96), (176, 144))
# By file name, the encoder; None: copied from `av1-*.ivf` here. SVT-AV1, which made those, gives its process real-time
# priority when root runs it, and then waits for threads that get no processor: it starves whole machines.
FORMATS: dict[str, str | None] = {
    "h264.h264": "libx264",
    "h265.h265": "libx265",
    "h264.ts": "libx264",
    "h265.ts": "libx265",
    "h264.mp4": "libx264",
    "h265.mp4": "libx265",
    "mjpeg.avi": "mjpeg",
    "mjpeg.mjpeg": "mjpeg",
    "vp8.webm": "libvpx",
    "vp8.ivf": "libvpx",
    "av1.mp4": None,
    "av1.ivf": None,
}
OPTIONS = {
    "libx264": {"preset": "ultrafast", "g": "5"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:keyint=5:pools=1:frame-threads=1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "g": "5"},
    "mjpeg": {},
}
START_CODE = re.compile(rb"\x00\x00(?:\x00)?\x01")
# Types of NAL units that hold parameters (ITU-T H.264, table 7-1; H.265, table 7-1).
H264_PARAMETERS, H265_PARAMETERS = {7, 8}, {32, 33, 34}

Damage = Callable[[bytes, bytes, random.Random], bytes]
"""Gets a stream, a sibling of it in the other size, and chance."""


def healthy(name: str, size: tuple[int, int], folder: Path) -> bytes:
    """A stream of the format `name`, a key of `FORMATS`: a square that moves over moving noise."""
    path = folder / f"{size[0]}-{name}"
    codec = FORMATS[name]
    if codec is None:
        return copied(av1(size), path)
    noise = np.random.default_rng(1).integers(0, 256, (2 * size[1], 2 * size[0], 3), np.uint8)
    kinds = {".h265": "hevc", ".ts": "mpegts", ".webm": "webm", ".mjpeg": "mjpeg"}
    with av.open(str(path), "w", format=kinds.get(path.suffix, path.suffix[1:])) as out:
        stream = out.add_stream(codec, rate=RATE, options=OPTIONS[codec])
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for n in range(FRAMES):
            picture = np.ascontiguousarray(noise[n : n + size[1], 2 * n : 2 * n + size[0]] // 4)
            picture[20:60, 20 + 2 * n : 60 + 2 * n] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = n, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path.read_bytes()


def av1(size: tuple[int, int]) -> Path:
    """A stream of `FRAMES` frames in one of `SIZES`."""
    return Path(__file__).with_name(f"av1-{size[0]}x{size[1]}.ivf")


def copied(source: Path, target: Path) -> bytes:
    """The source's packets in the container that the target's name says."""
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        video = container.streams.video[0]
        stream = out.add_stream_from_template(video, opaque=True)
        for packet in container.demux(video):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return target.read_bytes()


# -- damage that any bytes can take


def truncated(stream: bytes, sibling: bytes, rng: random.Random) -> bytes:
    return stream[: rng.randrange(len(stream))]


def flipped(stream: bytes, sibling: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(stream)
    for _ in range(rng.choice((1, 4, 16, 64, 256))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def flipped_in_front(stream: bytes, sibling: bytes, rng: random.Random) -> bytes:
    """Where containers and decoders are told what is to come."""
    damaged = bytearray(stream)
    for _ in range(rng.randint(1, 8)):
        damaged[rng.randrange(min(512, len(damaged)))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def overwritten(stream: bytes, sibling: bytes, rng: random.Random) -> bytes:
    first, last = _span(stream, rng)
    return stream[:first] + rng.randbytes(last - first) + stream[last:]


def cut_out(stream: bytes, sibling: bytes, rng: random.Random) -> bytes:
    first, last = _span(stream, rng)
    return stream[:first] + stream[last:]


def repeated(stream: bytes, sibling: bytes, rng: random.Random) -> bytes:
    first, last = _span(stream, rng)
    return stream[:last] + stream[first:last] * rng.randint(1, 4) + stream[last:]


def spliced(stream: bytes, sibling: bytes, rng: random.Random) -> bytes:
    first, last = _span(stream, rng)
    begin, end = _span(sibling, rng)
    return stream[:first] + sibling[begin:end] + stream[last:]


def joined(stream: bytes, sibling: bytes, rng: random.Random) -> bytes:
    return stream + sibling if rng.random() < 0.5 else sibling[: len(sibling) // 2] + stream


def noise(stream: bytes, sibling: bytes, rng: random.Random) -> bytes:
    """Nothing but, sometimes after a healthy beginning."""
    return stream[: rng.choice((0, 0, 16, 64, 512))] + rng.randbytes(rng.randrange(1, len(stream)))


def _span(stream: bytes, rng: random.Random) -> tuple[int, int]:
    """A range of at most a quarter of the stream."""
    first = rng.randrange(len(stream))
    return first, min(len(stream), first + rng.randrange(1, max(2, len(stream) // 4)))


# -- damage to NAL units, for H.264 and H.265 without a container


def nal_units(stream: bytes) -> list[bytes]:
    """The units, each with its start code."""
    starts = [match.start() for match in START_CODE.finditer(stream)]
    return [stream[a:b] for a, b in zip(starts, [*starts[1:], len(stream)], strict=True)]


def is_parameters(unit: bytes, h265: bool) -> bool:
    code = START_CODE.match(unit)
    if code is None or code.end() >= len(unit):
        return False
    first = unit[code.end()]
    return (first >> 1 & 0x3F) in H265_PARAMETERS if h265 else (first & 0x1F) in H264_PARAMETERS


def units_mixed(stream: bytes, sibling: bytes, rng: random.Random) -> bytes:
    """Some units are lost, doubled, out of order or the other stream's."""
    units, others = nal_units(stream), nal_units(sibling)
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(units))
        match rng.randrange(4):
            case 0 if len(units) > 1:
                del units[place]
            case 1:
                units.insert(rng.randrange(len(units)), units[place])
            case 2:
                other = rng.randrange(len(units))
                units[place], units[other] = units[other], units[place]
            case _:
                units.insert(place, rng.choice(others))
    return b"".join(units)


def parameters_swapped(stream: bytes, sibling: bytes, rng: random.Random, h265: bool = False) -> bytes:
    """Pictures of one size with the parameters of another; sometimes with a few bits of those flipped as well."""
    units = nal_units(stream)
    theirs = [unit for unit in nal_units(sibling) if is_parameters(unit, h265)]
    for place, unit in enumerate(units):
        if not is_parameters(unit, h265) or rng.random() < 0.3:
            continue
        if theirs and rng.random() < 0.6:
            units[place] = rng.choice(theirs)
        else:
            damaged = bytearray(unit)
            for _ in range(rng.randint(1, 4)):
                damaged[rng.randrange(min(5, len(unit) - 1), len(unit))] ^= 1 << rng.randrange(8)
            units[place] = bytes(damaged)
    return b"".join(units)


def h265_parameters_swapped(stream: bytes, sibling: bytes, rng: random.Random) -> bytes:
    return parameters_swapped(stream, sibling, rng, h265=True)


ANY: tuple[Damage, ...] = (
    truncated, flipped, flipped_in_front, overwritten, cut_out, repeated, spliced, joined, noise,
)  # fmt: skip
OF_UNITS: dict[str, tuple[Damage, ...]] = {
    ".h264": (units_mixed, parameters_swapped),
    ".h265": (units_mixed, h265_parameters_swapped),
}


def damaged(seed: int, streams: dict[str, tuple[bytes, bytes]]) -> tuple[str, str, bytes]:
    """The stream of a seed: its format, the names of its damages, and the bytes. The same seed gives the same."""
    rng = random.Random(seed)
    name = list(streams)[seed % len(streams)]
    stream, sibling = streams[name]
    of_units = OF_UNITS.get(Path(name).suffix, ())
    # What knows NAL units comes first: after other damage there may be none left.
    chosen: list[Damage] = [rng.choice(of_units)] if of_units and rng.random() < 0.6 else []
    if not chosen or rng.random() < 0.3:
        chosen += rng.choices(ANY, k=rng.choice((1, 1, 2)))
    for damage in chosen:
        stream = damage(stream, sibling, rng) or b"\0"
    return name, "+".join(damage.__name__ for damage in chosen), stream
