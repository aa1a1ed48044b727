"""Who may publish to a stream now: one at a time."""

from __future__ import annotations

import asyncio
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ingest.config import SourceConfig
from ingest.errors import VigilError
from ingest.live import LivePackets
from ingest.sources.whip import Handover
from ingest.webrtc.config import WebRtcConfig
from ingest.webrtc.encoded import DecoderWatch

if TYPE_CHECKING:
    from ingest.webrtc.publisher import Publisher

# A publisher that lost its network comes back before we know that it was away: it must not be locked out by its own
# ghost, nor may a second publisher push out one that delivers.
YIELDS_AFTER_S = 2.0


class BusyError(VigilError):
    """Somebody else publishes to the stream."""

    code = "whip.busy"


class UnknownSessionError(VigilError):
    """There is no such session, or no longer."""

    code = "whip.unknown_session"


class Desk:
    """Takes publishers for one stream; lives in the worker's event loop, which must be running."""

    def __init__(
        self, stream: str, config: SourceConfig, handover: Handover, watch: DecoderWatch,
        live: LivePackets | None = None,
    ) -> None:  # fmt: skip
        """`live` gets the pictures as publishers send them."""
        self._stream = stream
        self._config = config
        self._handover = handover
        self._watch = watch
        self._live = live
        self._session: str | None = None
        self._publisher: Publisher | None = None
        self._closed = False
        self._offering = asyncio.Lock()
        # A second's work, and in no worker without such a stream; not in the loop, which has others to serve.
        self._loaded = asyncio.get_running_loop().run_in_executor(None, import_module, "ingest.webrtc.publisher")

    async def offer(self, session: str, sdp: str, webrtc: dict[str, Any]) -> dict[str, Any]:
        """Answers an offer; `session` is the name under which it is spoken of from now on.

        Raises:
            BusyError, MalformedSdpError, UnacceptableOfferError, NoPortError
        """
        module = await self._loaded
        async with self._offering:
            before = self._publisher
            if before is not None and not before.over and time.monotonic() - before.heard_at < YIELDS_AFTER_S:
                raise BusyError(f"stream {self._stream!r} has a publisher; end that one first")
            settings = WebRtcConfig.model_validate(webrtc)
            publisher = module.Publisher(self._stream, self._config, self._handover, self._watch, settings, self._live)
            answer = await publisher.answer(sdp)
            self._session, self._publisher = session, publisher
            if before is not None:
                await before.end("another publisher took over")
        if self._closed:
            await publisher.end("the stream stops")
        return {"sdp": answer}

    async def trickle(self, session: str, sdp: str) -> dict[str, Any]:
        """Takes an SDP fragment with candidates.

        Raises:
            UnknownSessionError, MalformedSdpError, NoIceRestartError
        """
        await self._find(session).trickle(sdp)
        return {}

    async def end(self, session: str) -> dict[str, Any]:
        """Ends a session.

        Raises:
            UnknownSessionError
        """
        publisher = self._find(session)
        self._session = self._publisher = None
        await publisher.end("the publisher ended its session")
        return {}

    async def close(self) -> None:
        """Ends whatever session there is: the stream is not read any more."""
        self._closed = True
        if self._publisher is not None:
            await self._publisher.end("the stream stops")

    def _find(self, session: str) -> Publisher:
        if self._publisher is None or session != self._session or self._publisher.over:
            raise UnknownSessionError(f"stream {self._stream!r} has no such session; it is over, or never was")
        return self._publisher
