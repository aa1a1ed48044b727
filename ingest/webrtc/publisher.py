"""One publisher's connection: its offer is answered, its pictures go to the stream's reader until it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time

import av
import structlog
from aiortc import RTCRtpReceiver, RTCRtpTransceiver, RTCSessionDescription
from aiortc.exceptions import OperationError
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from ingest.config import SourceConfig
from ingest.live import LivePackets
from ingest.sources.whip import Handover, Picture
from ingest.webrtc.config import WebRtcConfig
from ingest.webrtc.encoded import DecoderWatch, EncodedQueue
from ingest.webrtc.offer import TAKEN, MalformedSdpError, UnacceptableOfferError, fragment, usable_offer
from ingest.webrtc.peer import confine, new_connection

log = structlog.get_logger()

CLOSE_S = 3.0


class NoIceRestartError(UnacceptableOfferError):
    """The fragment is of another ICE session than the offer."""

    code = "whip.no_ice_restart"


class Publisher:
    """Lives in the worker's event loop; a thread of aiortc's decodes.

    It is over when the publisher says so, closes its connection, or sends no picture for `read_timeout`; the first may
    take `connect_timeout` longer.
    """

    def __init__(
        self, stream: str, config: SourceConfig, handover: Handover, watch: DecoderWatch, webrtc: WebRtcConfig,
        live: LivePackets | None = None,
    ) -> None:  # fmt: skip
        """`live` gets the pictures as they are sent."""
        self._stream = stream
        self._config = config
        self._handover = handover
        self._watch = watch
        self._live = live
        self._webrtc = webrtc
        self._connection = new_connection(webrtc)
        self._video: RTCRtpTransceiver | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended_because: str | None = None
        self._username: str | None = None
        self.heard_at = time.monotonic()

    @property
    def over(self) -> bool:
        return self._task is not None and self._task.done()

    async def answer(self, text: str) -> str:
        """The SDP answer to the publisher's offer; from here on it may connect.

        Raises:
            MalformedSdpError, UnacceptableOfferError: the connection is closed again.
        """
        try:
            return await self._negotiate(usable_offer(text))
        except BaseException:
            await self._close()
            raise

    async def _negotiate(self, offer: str) -> str:
        connection = self._connection
        try:
            await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        except OperationError:
            raise UnacceptableOfferError(
                f"the offer has no codec that is taken; offer {TAKEN}, and Opus or none"
            ) from None
        except (ValueError, AssertionError) as error:
            raise MalformedSdpError(f"the offer cannot be used: {error}") from None
        video = self._video = next(
            one for one in connection.getTransceivers() if one.kind == "video" and one.receiver.track is not None
        )
        for other in connection.getTransceivers():
            if other is not video:
                other.direction = "inactive"
        encoded = _bound_queue(video.receiver, self._watch, self._live)
        confine(connection, self._webrtc)
        await connection.setLocalDescription(await connection.createAnswer())
        self._username = _attribute(offer, "ice-ufrag")
        self._task = asyncio.create_task(
            self._deliver(video.receiver.track, encoded), name=f"publisher of {self._stream}"
        )
        return str(connection.localDescription.sdp)

    async def trickle(self, text: str) -> None:
        """Takes candidates that the publisher found after its offer.

        Raises:
            MalformedSdpError, NoIceRestartError
        """
        found = fragment(text)
        if found.username not in (None, self._username):
            raise NoIceRestartError("ICE restarts are not supported; end the session and publish again")
        assert self._video is not None, "only a session that was answered is known to anyone"
        for candidate in found.candidates:
            await self._video.receiver.transport.transport.addRemoteCandidate(candidate)

    async def end(self, because: str) -> None:
        """Closes the connection; returns when that is done."""
        self._ended_because = because
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _deliver(self, track: MediaStreamTrack, encoded: EncodedQueue) -> None:
        publication = self._handover.begin()
        patience_s = self._config.connect_timeout + self._config.read_timeout
        pictures, detail = 0, "the publisher closed its connection"
        try:
            while True:
                async with asyncio.timeout(patience_s):
                    image = await track.recv()
                assert isinstance(image, av.VideoFrame), "a video track's"
                if not pictures:
                    log.info("publisher sends", stream=self._stream, codec=encoded.codec)
                pictures += 1
                patience_s = self._config.read_timeout
                self.heard_at = time.monotonic()
                self._handover.put(Picture(publication, image, encoded.codec, encoded.decode_s, encoded.skipped))
        except MediaStreamError:
            pass
        except TimeoutError:
            detail = f"no picture from the publisher for {patience_s:g} s"
        except asyncio.CancelledError:
            detail = self._ended_because or "the service stops"
        finally:
            self._handover.end(publication, detail)
            await self._close()
            told = {"stream": self._stream, "reason": detail, "pictures": pictures, "skipped": encoded.skipped}
            (log.info if pictures else log.warning)("publisher is gone", **told)

    async def _close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close()


def _bound_queue(receiver: RTCRtpReceiver, watch: DecoderWatch, live: LivePackets | None) -> EncodedQueue:
    """Puts a bounded queue before the receiver's decoder, which has not started yet."""
    private = vars(receiver)
    queue = EncodedQueue(private["_RTCRtpReceiver__decoder_error"], watch, live)
    private["_RTCRtpReceiver__decoder_queue"] = queue
    return queue


def _attribute(sdp: str, name: str) -> str | None:
    """The first value of an SDP attribute."""
    lines = (line.removeprefix(f"a={name}:") for line in sdp.splitlines() if line.startswith(f"a={name}:"))
    return next(lines, None)
