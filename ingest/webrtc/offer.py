"""What a publisher's SDP must hold, and what of it is used."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.sdp import SessionDescription, candidate_from_sdp

from ingest.errors import VigilError

MAX_MEDIA = 8
MAX_CANDIDATES = 64
TAKEN = "H.264 (packetization-mode=1) or VP8"

_CANDIDATE = re.compile(r"^a=candidate:", re.MULTILINE)
# Browsers hide their addresses behind names that only multicast DNS knows.
_HIDDEN = re.compile(r"^a=candidate:\S+ \S+ \S+ \S+ \S+\.local ", re.IGNORECASE)


class MalformedSdpError(VigilError):
    """What was sent is not SDP, or lacks what every WebRTC description has."""

    code = "whip.malformed"


class UnacceptableOfferError(VigilError):
    """A correct offer of something that is not taken."""

    code = "whip.unacceptable"


@dataclass(frozen=True, slots=True)
class Fragment:
    """Candidates that were found after the offer was sent, and for which ICE session they are."""

    username: str | None
    candidates: tuple[RTCIceCandidate, ...]


def without_hidden(text: str) -> str:
    """The offer as it is to be answered.

    Hidden addresses are left out: resolving them would hold up the answer and open multicast sockets, and the peer
    reaches us anyway. So is the end of candidates: whoever reaches us is a candidate, at any time.
    """
    lines = [line for line in text.splitlines() if line.strip() != "a=end-of-candidates" and not _HIDDEN.match(line)]
    return "\r\n".join(lines) + "\r\n"


def usable_offer(text: str) -> str:
    """A publisher's offer as it is to be answered.

    Raises:
        MalformedSdpError, UnacceptableOfferError: with what to change.
    """
    usable = without_hidden(text)
    if len(_CANDIDATE.findall(usable)) > MAX_CANDIDATES:
        raise UnacceptableOfferError(f"the offer has more than {MAX_CANDIDATES} candidates")
    try:
        description = SessionDescription.parse(usable)
    except Exception as error:  # the parser indexes, asserts and converts as if every line were right
        raise MalformedSdpError(f"the offer is not valid SDP ({type(error).__name__})") from None
    if not description.media:
        raise MalformedSdpError("the offer has no media section")
    if len(description.media) > MAX_MEDIA:
        raise UnacceptableOfferError(f"the offer has more than {MAX_MEDIA} media sections")
    for media in description.media:
        if media.kind not in ("audio", "video"):
            raise UnacceptableOfferError(
                f"the offer has a section of kind {media.kind!r}; publish video, and audio if need be"
            )
        if media.ice is None or not media.ice.usernameFragment or not media.ice.password or media.dtls is None:
            raise MalformedSdpError("a media section lacks ice-ufrag, ice-pwd or a fingerprint")
    videos = [media for media in description.media if media.kind == "video"]
    if not any(media.direction in ("sendonly", "sendrecv") for media in videos):
        raise UnacceptableOfferError("the offer sends no video; add a track that is `sendonly`")
    return usable


def fragment(text: str) -> Fragment:
    """A trickle-ICE SDP fragment (RFC 8840).

    Raises:
        MalformedSdpError: it cannot be read.
    """
    username, mid, candidates = None, None, []
    section = -1
    for line in text.splitlines():
        key, _, value = line.strip().partition(":")
        if key.startswith("m="):
            section, mid = section + 1, None
        elif key == "a=ice-ufrag":
            username = value
        elif key == "a=mid":
            mid = value
        elif key == "a=candidate" and not _HIDDEN.match(line):
            try:
                candidate = candidate_from_sdp(value)
            except Exception as error:  # as above
                raise MalformedSdpError(f"a candidate cannot be read ({type(error).__name__})") from None
            candidate.sdpMid, candidate.sdpMLineIndex = mid, None if mid else max(section, 0)
            candidates.append(candidate)
    if len(candidates) > MAX_CANDIDATES:
        raise MalformedSdpError(f"more than {MAX_CANDIDATES} candidates")
    return Fragment(username, tuple(candidates))
