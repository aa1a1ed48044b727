"""What publishers offer is checked before it is believed."""

from __future__ import annotations

import asyncio
import random

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from hypothesis import given
from hypothesis import strategies as st

from ingest.webrtc.offer import MAX_CANDIDATES, MalformedSdpError, UnacceptableOfferError, fragment, usable_offer


def offer_of(*kinds: str, direction: str = "sendonly", channel: bool = False) -> str:
    async def make() -> str:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        for kind in kinds:
            connection.addTransceiver(kind, direction=direction)
        if channel:
            connection.createDataChannel("x")
        await connection.setLocalDescription(await connection.createOffer())
        sdp = str(connection.localDescription.sdp)
        await connection.close()
        return sdp

    return asyncio.run(make())


@pytest.fixture(scope="module")
def offer() -> str:
    return offer_of("audio", "video")


HIDDEN = "a=candidate:1 1 udp 2113937151 5b1ae3ef-3c0c-4be2-9e8c-0d7ab2a3c3a1.local 51234 typ host"
SEEN = "a=candidate:2 1 udp 2113937151 192.0.2.7 51234 typ host"


def test_an_ordinary_offer_is_used(offer: str) -> None:
    assert "m=video" in usable_offer(offer)


def test_hidden_addresses_and_the_end_of_candidates_are_left_out(offer: str) -> None:
    usable = usable_offer(f"{offer}{HIDDEN}\r\n{SEEN}\r\na=end-of-candidates\r\n")
    assert ".local" not in usable
    assert "end-of-candidates" not in usable
    assert SEEN in usable


@pytest.mark.parametrize("text", ["", "hello", "v=0", "{}", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"])
def test_what_is_no_offer_is_malformed(text: str) -> None:
    with pytest.raises(MalformedSdpError):
        usable_offer(text)


@pytest.mark.parametrize("missing", ["a=ice-ufrag:", "a=ice-pwd:"])
def test_an_offer_without_ice_credentials_is_malformed(offer: str, missing: str) -> None:
    text = "\r\n".join(line for line in offer.splitlines() if not line.startswith(missing)) + "\r\n"
    with pytest.raises(MalformedSdpError, match="ice-ufrag"):
        usable_offer(text)


def test_without_video_there_is_nothing_to_see() -> None:
    with pytest.raises(UnacceptableOfferError, match="no video"):
        usable_offer(offer_of("audio"))


def test_video_that_is_only_received_is_none() -> None:
    with pytest.raises(UnacceptableOfferError, match="no video"):
        usable_offer(offer_of("video", direction="recvonly"))


def test_data_channels_are_refused() -> None:
    with pytest.raises(UnacceptableOfferError, match="application"):
        usable_offer(offer_of("video", channel=True))


def test_candidates_have_a_bound(offer: str) -> None:
    with pytest.raises(UnacceptableOfferError, match="candidates"):
        usable_offer(offer + f"{SEEN}\r\n" * (MAX_CANDIDATES + 1))


@given(st.integers(0, 2**32))
def test_a_mutated_offer_is_used_or_refused_and_nothing_else(offer: str, seed: int) -> None:
    rng = random.Random(seed)
    text = list(offer)
    for _ in range(rng.randrange(1, 12)):
        at = rng.randrange(len(text))
        match rng.randrange(3):
            case 0:
                text[at] = chr(rng.randrange(32, 0x2000))
            case 1:
                del text[at : at + rng.randrange(60)]
            case 2:
                text.insert(at, rng.choice(["\r\n", ":", " ", "a=", "m=video ", "99999999999999999999"]))
        if not text:
            break
    try:
        usable_offer("".join(text))
    except (MalformedSdpError, UnacceptableOfferError) as refusal:
        assert str(refusal)


def test_a_fragment_brings_candidates_for_an_ice_session() -> None:
    found = fragment(f"a=ice-ufrag:EsAw\r\na=ice-pwd:x\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n{SEEN}\r\n{HIDDEN}\r\n")
    assert found.username == "EsAw"
    assert [(candidate.ip, candidate.port, candidate.sdpMid) for candidate in found.candidates] == [
        ("192.0.2.7", 51234, "0")
    ]


def test_the_end_of_candidates_alone_is_a_fragment() -> None:
    assert fragment("a=ice-ufrag:EsAw\r\na=end-of-candidates\r\n").candidates == ()


@pytest.mark.parametrize("line", ["a=candidate:", "a=candidate:1 1 udp x 192.0.2.7 1 typ host", "a=candidate:1 1"])
def test_a_candidate_that_cannot_be_read_is_malformed(line: str) -> None:
    with pytest.raises(MalformedSdpError):
        fragment(line)
