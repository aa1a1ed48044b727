"""What is encoded every browser plays, at once, at the rate that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.annexb import look
from publish.preview import encode
from publish.preview.encode import Encoder, EncoderError, Wish
from tests.publish.preview.seen import decoded

WISH = Wish(320, 180, 25.0, 500_000)


def picture(n: int, size: tuple[int, int] = (320, 180)) -> NDArray[np.uint8]:
    """Noise that moves."""
    made: NDArray[np.uint8] = np.random.default_rng(n % 5).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return made


def test_each_picture_comes_out_at_once_and_only_the_first_is_a_key_frame() -> None:
    encoder = Encoder(WISH)
    made = [encoder.encode(picture(n), key=False) for n in range(8)]
    assert [one.is_key for one in made if one] == [True, *[False] * 7]
    assert len(decoded("h264", *(one.data for one in made if one))) == 8


def test_it_is_constrained_baseline_whose_key_frames_can_be_begun_with() -> None:
    first = Encoder(WISH).encode(picture(0), key=False)
    assert first is not None
    unit = look(first.data)
    profile, constraints = unit.parameters[5:7]  # after the start code and the unit's header
    assert unit.is_idr and profile == 66 and constraints & 0x40  # ITU-T H.264, A.2.1.1


def test_a_key_frame_comes_when_it_is_asked_for() -> None:
    encoder = Encoder(WISH)
    made = [encoder.encode(picture(n), key=n == 3) for n in range(5)]
    assert [n for n, one in enumerate(made) if one and one.is_key] == [0, 3]
    assert made[3] is not None and len(decoded("h264", made[3].data)) == 1


def test_the_bitrate_follows_without_a_key_frame_when_it_falls_and_with_one_when_it_rises() -> None:
    encoder = Encoder(WISH)

    def rate(wish: Wish) -> tuple[float, list[bool]]:
        encoder.follow(wish)
        made = [encoder.encode(picture(n), key=False) for n in range(30)]
        return sum(len(one.data) for one in made[10:] if one) * 8 * 25 / 20, [one.is_key for one in made if one]

    full, _ = rate(WISH)
    half, keys = rate(Wish(320, 180, 25.0, 150_000))
    assert half < 0.6 * full and not any(keys)
    more, keys = rate(Wish(320, 180, 25.0, 1_000_000))
    assert more > 1.5 * half and keys == [True, *[False] * 29]


def test_another_size_is_another_encoder() -> None:
    encoder = Encoder(WISH)
    encoder.encode(picture(0), key=False)
    assert not encoder.follow(Wish(160, 90, 25.0, 500_000))
    made = encoder.encode(picture(1, (160, 90)), key=False)
    assert made is not None and made.is_key and decoded("h264", made.data)[0].shape == (90, 160, 3)


def test_without_an_h264_encoder_it_is_vp8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "ENCODERS", {"not there": "h264", "libvpx": "vp8"})
    encoder = Encoder(WISH)
    made = [encoder.encode(picture(n), key=n == 2) for n in range(4)]
    assert encoder.codec == "vp8" and [one.is_key for one in made if one] == [True, False, True, False]
    assert len(decoded("vp8", *(one.data for one in made if one))) == 4


def test_what_cannot_be_encoded_is_told_with_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderError, match="321x180"):
        Encoder(Wish(321, 180, 25.0, 500_000))
    monkeypatch.setattr(encode, "ENCODERS", {"not there": "h264"})
    with pytest.raises(EncoderError, match="PyAV's own wheel"):
        Encoder(WISH)
