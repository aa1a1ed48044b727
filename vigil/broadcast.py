"""What happens, told to who listens over HTTP as it happens. Two tasks in the supervisor's loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from publish.live import Audience, Told
from vigil.overview import READ_S, Overview

POLL_S = 0.1


class Broadcast:
    def __init__(
        self, audience: Audience, overview: Overview, events: str, client: Callable[[], Client | None]
    ) -> None:
        """`events` are the subjects of all events; `client` is the connection to NATS, None until it stands."""
        self._audience = audience
        self._overview = overview
        self._events = events
        self._client = client

    async def figures(self) -> None:
        """Reads the figures once a second, and tells them; runs until cancelled."""
        while True:
            self._overview.read(time.monotonic())
            if len(self._audience):
                self._audience.tell_latest(Told("system", self._overview.told().model_dump_json().encode()))
            await asyncio.sleep(READ_S)

    async def events(self) -> None:
        """Passes events on as NATS has them, while somebody listens; runs until cancelled."""
        while True:
            await self._audience.listened_to()
            client = self._client()
            if client is None or not client.is_connected:
                await asyncio.sleep(POLL_S)
                continue
            subscription = await client.subscribe(self._events, cb=self._happened)
            try:
                await self._audience.deserted()
            finally:
                with contextlib.suppress(nats.errors.Error):
                    await subscription.unsubscribe()

    async def _happened(self, message: Msg) -> None:
        self._audience.tell(Told("event", message.data))


def status(stream: str, state: str, details: dict[str, Any]) -> Told:
    """That a stream is in a state."""
    return Told("status", json.dumps({"stream": stream, "state": state, **details}).encode())
