"""Payloads as RFC 6184 and RFC 7741 have them: what goes in comes out of aiortc's own unpacking."""

from __future__ import annotations

import pytest
from aiortc.codecs import h264_depayload, vp8_depayload
from hypothesis import given
from hypothesis import strategies as st

from publish.preview.payloads import MAX_PAYLOAD_BYTES, payloads, profile_level_id, units

START = b"\x00\x00\x00\x01"
SPS, PPS = bytes.fromhex("6742c01eda02806d0a1350"), bytes.fromhex("68ce3c80")
# No start code within, and no zero at its end, as in every NAL unit.
unit = st.builds(lambda kind, body: bytes([kind]) + body.replace(b"\x00", b"\x01"), st.sampled_from([0x65, 0x41, 0x06]),
                 st.binary(min_size=1, max_size=4000))  # fmt: skip


def annex_b(several: list[bytes]) -> bytes:
    return b"".join(START + one for one in several)


@given(st.lists(unit, min_size=1, max_size=12))
def test_every_unit_arrives_and_no_packet_is_too_long(several: list[bytes]) -> None:
    made = payloads("h264", annex_b(several))
    assert all(len(one) <= MAX_PAYLOAD_BYTES for one in made)
    assert list(units(b"".join(h264_depayload(one) for one in made))) == several


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_unit_as_long_as_a_packet_may_be_goes_into_one(over: int) -> None:
    made = payloads("h264", START + b"\x65" * (MAX_PAYLOAD_BYTES + over))
    assert len(made) == (2 if over > 0 else 1)


def test_the_packets_of_a_large_unit_are_alike_but_the_last() -> None:
    made = payloads("h264", annex_b([b"\x65" * 10_000]))
    assert {len(one) for one in made[:-1]} == {MAX_PAYLOAD_BYTES}
    assert len(made[-1]) <= MAX_PAYLOAD_BYTES


def test_parameter_sets_share_a_packet_and_delimiters_are_left_out() -> None:
    made = payloads("h264", annex_b([b"\x09\xf0", SPS, PPS]) + START + b"\x0c\xff\xff" + START + b"\x65" * 3000)
    assert made[0][0] & 0x1F == 24
    assert list(units(h264_depayload(made[0]))) == [SPS, PPS]
    assert len(made) == 1 + 3


def test_what_decodes_a_picture_is_read_from_it() -> None:
    assert profile_level_id(annex_b([b"\x09\xf0", SPS, PPS])) == "42c01e"
    assert profile_level_id(annex_b([b"\x41\x01"])) is None
    assert profile_level_id(b"") is None


@given(st.binary(min_size=1, max_size=5000))
def test_a_vp8_picture_arrives(data: bytes) -> None:
    made = payloads("vp8", data)
    assert all(len(one) <= MAX_PAYLOAD_BYTES for one in made)
    assert [one[0] >> 4 for one in made] == [1] + [0] * (len(made) - 1), "only the first begins the picture"
    assert b"".join(vp8_depayload(one) for one in made) == data
