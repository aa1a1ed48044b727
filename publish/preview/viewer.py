"""One viewer's connection: its offer is answered, its player gets a view's pictures and what was seen in them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog
from aiortc import RTCDataChannel, RTCRtpTransceiver, RTCSessionDescription
from aiortc.exceptions import InvalidStateError, OperationError

from ingest.errors import VigilError
from ingest.webrtc.config import WebRtcConfig
from ingest.webrtc.peer import confine, new_connection
from publish.preview.fanout import Follower, View
from publish.preview.offer import RECEIVES, MalformedOfferError, Offer, UnacceptableOfferError, chosen, fragment
from publish.preview.outlet import Outlet
from publish.preview.payloads import profile_level_id
from publish.preview.rate import Capacity, Trial
from publish.preview.tracks import LABEL

log = structlog.get_logger()

CLOSE_S = 3.0
CONNECT_WITHIN_S = 30.0
# Players report every second or so while they are sent pictures.
SILENT_S = 15.0
# A player that reads so little of what was seen has no use for more of it.
MOST_UNSENT_BYTES = 1 << 16
MOST_CHANNELS = 8


class NoIceRestartError(VigilError):
    """The fragment is of another ICE session than the offer."""

    code = "whep.no_ice_restart"


class CodecError(VigilError):
    """The player cannot play what the view consists of."""

    code = "preview.codec"


class Viewer:
    """Lives in the preview process's loop. `on_over` is called, once, when it is gone by itself, with the reason."""

    def __init__(self, view: View, capacity: Capacity, webrtc: WebRtcConfig, on_over: Callable[[str], None]) -> None:
        self.view = view
        self.capacity = capacity
        self.trial = Trial()
        self.codec = view.codec or "h264"
        self.follower: Follower | None = None
        self._webrtc = webrtc
        self._on_over = on_over
        self._over = False
        self._connection = new_connection(webrtc)
        self._connection.on("datachannel", self._channel_opened)
        self._connection.on("connectionstatechange", self._state_changed)
        self._video: RTCRtpTransceiver | None = None
        self._username: str | None = None
        self._channel: RTCDataChannel | None = None
        self._channels = 0
        self._offered_at = time.monotonic()
        self.outlet: Outlet | None = None

    async def answer(self, offer: Offer) -> str:
        """The SDP answer; from here on the player may connect.

        Raises:
            MalformedOfferError, UnacceptableOfferError, CodecError, NoPortError: the connection is closed again.
        """
        try:
            return await self._negotiate(offer)
        except BaseException:
            await self.close()
            raise

    async def _negotiate(self, offer: Offer) -> str:
        connection = self._connection
        try:
            await connection.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        except OperationError:
            raise UnacceptableOfferError(
                "the offer has no codec that is taken; offer H.264 (packetization-mode=1)"
            ) from None
        except (ValueError, AssertionError, KeyError, InvalidStateError) as error:
            raise MalformedOfferError(f"the offer cannot be used: {error}") from None
        transceivers = connection.getTransceivers()
        video = self._video = next(one for one in transceivers if one.kind == "video" and _reversed(one) in RECEIVES)
        for one in transceivers:
            one.direction = "sendonly" if one is video else "inactive"
        profile = profile_level_id(self.view.first_key) if self.view.first_key and self.codec == "h264" else None
        video._codecs = chosen(video._codecs, self.codec, profile)
        if not video._codecs:
            raise CodecError(f"the player's offer has no {self.codec} that is taken")
        self.outlet = Outlet(video, self._ready, self._wants_key)
        confine(connection, self._webrtc)
        video.receiver.transport.on("statechange", self._state_changed)
        await connection.setLocalDescription(await connection.createAnswer())
        self._username = offer.username
        return str(connection.localDescription.sdp)

    async def trickle(self, text: str) -> None:
        """Takes candidates that the player found after its offer.

        Raises:
            MalformedOfferError, NoIceRestartError
        """
        found = fragment(text)
        if found.username not in (None, self._username):
            raise NoIceRestartError("ICE restarts are not supported; end the session and play again")
        assert self._video is not None, "only a session that was answered is known to anyone"
        for candidate in found.candidates:
            await self._video.receiver.transport.transport.addRemoteCandidate(candidate)

    # -- what it is told

    def tell(self, message: str) -> None:
        """What was seen; a player that does not keep up misses it."""
        channel = self._channel
        if channel is not None and channel.readyState == "open" and channel.bufferedAmount < MOST_UNSENT_BYTES:
            with contextlib.suppress(InvalidStateError, ValueError):
                channel.send(message)

    @property
    def over(self) -> bool:
        return self._over

    @property
    def listens(self) -> bool:
        return self._channel is not None

    # -- what happens to it

    def _ready(self) -> None:
        if not self._over and self.outlet is not None:
            self.follower = Follower(self.outlet)
            self.view.follow(self.follower)

    def _wants_key(self) -> None:
        if self.follower is not None:
            self.view.begin_again(self.follower)

    def _channel_opened(self, channel: RTCDataChannel) -> None:
        self._channels += 1
        if channel.label == LABEL:
            self._channel = channel
        if self._channels > MOST_CHANNELS:
            self._gone("it opens one data channel after the other")

    def _state_changed(self) -> None:
        transport = self._video.receiver.transport if self._video is not None else None
        states = {self._connection.connectionState, transport.state if transport is not None else "new"}
        if "failed" in states:
            self._gone("its connection failed")
        elif "closed" in states:
            self._gone("it closed its connection")

    def look(self, now: float) -> None:
        """Notices who never came, and who left without a word; `now` is monotonic seconds."""
        if self.follower is None:
            if now - self._offered_at > CONNECT_WITHIN_S:
                self._gone(f"it did not connect within {CONNECT_WITHIN_S:g} s")
        elif self.outlet is not None and self.follower.last is not None and now - self.outlet.heard_at > SILENT_S:
            self._gone(f"nothing was heard of it for {SILENT_S:g} s")

    def _gone(self, because: str) -> None:
        if not self._over:
            self._over = True
            self._on_over(because)

    async def close(self) -> None:
        """Ends the connection; returns when that is done."""
        self._over = True
        if self.follower is not None:
            self.view.leave(self.follower)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close()


def _reversed(transceiver: RTCRtpTransceiver) -> str:
    """The player's direction; aiortc keeps ours."""
    ours = transceiver._offerDirection or "inactive"
    return {"sendonly": "recvonly", "recvonly": "sendonly"}.get(ours, ours)
