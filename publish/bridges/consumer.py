"""A bridge's durable consumer in JetStream: the place it has reached, kept by the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Set
from datetime import datetime

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError, ServiceUnavailableError

from publish.subjects import EVENTS_STREAM
from publish.trouble import FAILURES

# Events that a bridge holds at most: underway, or waiting behind one of their stream that is.
MAX_HELD = 64
# What was given to a process that died comes again after so long. It is short, as newer events wait for that; whoever
# lives renews what it holds well before.
ACK_WAIT_S = 5.0
RENEW_S = 1.5
HURRY_S = 0.1
FETCH_S = 1.0
GATHER_S = 0.5
LATE_S = 0.5
REQUEST_S = 3.0
# Statuses that answer a request for events when there are none.
NOTHING_NOW = ("404", "408")


class EventsConsumer:
    """Gets events and knows which of them the server waits for. Lives in one asyncio loop."""

    def __init__(self, client: Client, name: str, subjects: list[str], since: datetime) -> None:
        """A consumer that is not there yet starts with the events since a time; one that is goes on where it was."""
        self._client = client
        self._name = name
        self._subjects = subjects
        self._since = since
        self._jetstream = client.jetstream(timeout=REQUEST_S)
        self._config: ConsumerConfig | None = None
        self._subscription: Subscription | None = None
        self._arrived: asyncio.Queue[Msg] = asyncio.Queue()  # MAX_HELD at most, as the server gives out no more
        self._inbox = ""
        self._asked = 0  # how many more may come of what was asked for last
        self._connections = -1  # how often the client had reconnected when we last knew all that is underway

    async def ensure(self) -> None:
        """Creates the consumer, or brings an existing one's filter up to date, and subscribes.

        Raises:
            FAILURES: it could not be done now; `NotFoundError`: there is no events stream.
        """
        wanted = ConsumerConfig(
            name=self._name, durable_name=self._name, ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT_S,
            max_ack_pending=MAX_HELD, max_deliver=-1, filter_subjects=self._subjects,
            deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=self._since,
        )  # fmt: skip
        with contextlib.suppress(NotFoundError):
            found = (await self._info()).config
            assert found is not None
            # Where it starts cannot change any more.
            wanted = wanted.evolve(
                deliver_policy=found.deliver_policy, opt_start_time=found.opt_start_time,
                opt_start_seq=found.opt_start_seq,
            )  # fmt: skip
        await self._jetstream.add_consumer(EVENTS_STREAM, wanted)
        self._config = wanted
        await self.close()
        self._connections = -1
        self._asked, self._inbox, self._arrived = 0, self._client.new_inbox(), asyncio.Queue()
        self._subscription = await self._client.subscribe(self._inbox, cb=self._arrived.put)

    async def fetch(self, timeout_s: float = FETCH_S) -> list[Msg]:
        """Events as soon as there are any; none when there are none in time. The server gives out `MAX_HELD` at most.

        nats-py's own fetch keeps the first events back until its batch is full or its time is up.

        Raises:
            FAILURES
        """
        if self._asked == 0:
            await self._ask(timeout_s)
        found: list[Msg] = []
        try:
            # Not `next_msg` of nats-py: it loses cancellations, in Python 3.11.
            async with asyncio.timeout(timeout_s + LATE_S):
                self._sort(await self._arrived.get(), found)
        except TimeoutError:
            self._asked = 0
        while not self._arrived.empty():
            self._sort(self._arrived.get_nowait(), found)
        return found

    async def _ask(self, timeout_s: float) -> None:
        request = json.dumps({"batch": MAX_HELD, "expires": int(timeout_s * 1e9)}).encode()
        await self._client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS_STREAM}.{self._name}", request, self._inbox)
        self._asked = MAX_HELD

    def _sort(self, message: Msg, found: list[Msg]) -> None:
        status = (message.headers or {}).get("Status")
        if status is None:
            self._asked = max(0, self._asked - 1)
            found.append(message)
            return
        self._asked = 0
        if status not in NOTHING_NOW:
            raise ServiceUnavailableError(description=(message.headers or {}).get("Description", status))

    @property
    def whole(self) -> bool:
        """Whether nothing can be underway that is not here: the connection has stood since `rest`."""
        return self._client.is_connected and self._connections == self._client.stats["reconnects"]

    async def rest(self, arrived: Set[int], held: Set[int]) -> list[Msg]:
        """What is underway beside the events that have arrived and those that are held, by their sequences.

        `held` may shrink meanwhile.

        What a process that died had, or a connection that broke, comes again only after a while. Newer events have to
        wait for it, else they would overtake. The server is told to hurry: when the time changes for which it waits for
        acknowledgements, it looks for what is overdue at once.

        Raises:
            FAILURES
        """
        connections, found = self._client.stats["reconnects"], list[Msg]()
        if await self._underway() > len(arrived | held):
            await self._set_ack_wait(HURRY_S)
            ends = time.monotonic() + 2 * ACK_WAIT_S
            while await self._underway() > len(arrived | held | {one.metadata.sequence.stream for one in found}):
                if time.monotonic() > ends:  # they are no more: the events stream has forgotten them
                    break
                found += await self.fetch(GATHER_S)
            await self._set_ack_wait(ACK_WAIT_S)
        self._connections = connections
        return found

    async def _set_ack_wait(self, seconds: float) -> None:
        assert self._config is not None, "ensure the consumer first"
        await self._jetstream.add_consumer(EVENTS_STREAM, self._config.evolve(ack_wait=seconds))

    async def _underway(self) -> int:
        """Events that the server has given out and waits for."""
        return (await self._info()).num_ack_pending or 0

    async def lag(self) -> int:
        """Events that are yet to be acknowledged, given out or not.

        Raises:
            FAILURES
        """
        info = await self._info()
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def close(self) -> None:
        if self._subscription is not None:
            with contextlib.suppress(*FAILURES):
                await self._subscription.unsubscribe()
            self._subscription = None

    async def _info(self) -> ConsumerInfo:
        if not self._client.is_connected:
            await asyncio.sleep(0)
            raise nats.errors.ConnectionClosedError
        info: ConsumerInfo = await self._jetstream.consumer_info(EVENTS_STREAM, self._name)
        return info
