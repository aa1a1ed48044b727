"""What a player's offer must hold, and what of it is used."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import SessionDescription

from ingest.errors import VigilError
from ingest.webrtc import offer as whip

MAX_MEDIA = 8
MAX_CANDIDATES = 64
RECEIVES = ("recvonly", "sendrecv")
# The codecs of views, as SDP calls them.
NAMES = {"h264": "H264", "vp8": "VP8"}

_CANDIDATE = re.compile(r"^a=candidate:", re.MULTILINE)


class MalformedOfferError(VigilError):
    """What was sent is not SDP, or lacks what every WebRTC description has."""

    code = "whep.malformed"


class UnacceptableOfferError(VigilError):
    """A correct offer of something that is not taken."""

    code = "whep.unacceptable"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a player wants.

    Attributes:
        sdp: as it is to be answered.
        username: of the ICE session.
        codecs: that it can play, as SDP calls them.
        has_channel: whether it can be told what was seen.
    """

    sdp: str
    username: str
    codecs: frozenset[str]
    has_channel: bool


def usable_offer(text: str) -> Offer:
    """
    Raises:
        MalformedOfferError, UnacceptableOfferError: with what to change.
    """
    usable = whip.without_hidden(text)
    if len(_CANDIDATE.findall(usable)) > MAX_CANDIDATES:
        raise UnacceptableOfferError(f"the offer has more than {MAX_CANDIDATES} candidates")
    try:
        description = SessionDescription.parse(usable)
    except Exception as error:  # the parser indexes, asserts and converts as if every line were right
        raise MalformedOfferError(f"the offer is not valid SDP ({type(error).__name__})") from None
    media = description.media
    if not media:
        raise MalformedOfferError("the offer has no media section")
    if len(media) > MAX_MEDIA:
        raise UnacceptableOfferError(f"the offer has more than {MAX_MEDIA} media sections")
    for one in media:
        if one.kind not in ("audio", "video", "application"):
            raise UnacceptableOfferError(f"the offer has a section of kind {one.kind!r}; offer video")
        if one.ice is None or not one.ice.usernameFragment or not one.ice.password or one.dtls is None:
            raise MalformedOfferError("a media section lacks ice-ufrag, ice-pwd or a fingerprint")
    videos = [one for one in media if one.kind == "video" and one.direction in RECEIVES]
    if not videos:
        raise UnacceptableOfferError("the offer receives no video; add a transceiver that is `recvonly`")
    together = {mid for group in description.group if group.semantic == "BUNDLE" for mid in group.items}
    if len(media) > 1 and any(one.rtp.muxId not in together for one in media):
        raise UnacceptableOfferError("the offer does not bundle its sections (a=group:BUNDLE); use one transport")
    if sum(one.kind == "application" for one in media) > 1:
        raise UnacceptableOfferError("the offer has more than one section for data channels; use one")
    username = media[0].ice.usernameFragment if media[0].ice is not None else None
    assert username is not None, "as was looked for above"
    return Offer(
        sdp=usable,
        username=username,
        codecs=frozenset(codec.name for codec in videos[0].rtp.codecs),
        has_channel=any(one.kind == "application" for one in media),
    )


def fragment(text: str) -> whip.Fragment:
    """A trickle-ICE SDP fragment (RFC 8840).

    Raises:
        MalformedOfferError: it cannot be read.
    """
    try:
        return whip.fragment(text)
    except whip.MalformedSdpError as error:
        raise MalformedOfferError(str(error)) from None


def chosen(common: list[RTCRtpCodecParameters], codec: str, profile: str | None) -> list[RTCRtpCodecParameters]:
    """Of the codecs that both sides have, the one to send a view's `codec` with, and its retransmissions.

    For H.264 the one that comes closest to the `profile` (six hex digits) of the pictures; players say what their
    hardware decodes, and play the others all the same. Empty: there is none.
    """
    fit = [one for one in common if one.name == NAMES[codec]]
    best = max(fit, key=lambda one: _closeness(one, profile), default=None)
    if best is None:
        return []
    return [best, *(one for one in common if one.parameters.get("apt") == best.payloadType)]


def _closeness(codec: RTCRtpCodecParameters, profile: str | None) -> int:
    theirs = str(codec.parameters.get("profile-level-id", "42e01f")).lower()
    if profile is None:
        return int(theirs.startswith("42e0"))
    return 2 * (theirs[:4] == profile[:4].lower()) + (theirs[:2] == profile[:2].lower())
