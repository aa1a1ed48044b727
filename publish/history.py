"""Reading the events' JetStream stream in order, across absences of the server and, by a name, of the reader."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Coroutine
from datetime import datetime
from typing import Any, Literal

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

from publish.subjects import EVENTS_STREAM
from publish.trouble import FAILURES, Code, NatsError, Trouble

log = logging.getLogger("vigil.client")

Beginning = Literal["beginning"]

RETRY_S = 0.5
# How long a server keeps a question for the next message.
WAIT_S = 5.0
# What waits is fetched by so many; none of a durable name's goes past them, so that all stay in order.
BATCH = 64
BATCH_S = 2.0
# What was given and not taken within this is given again; who is still at it says so three times as often.
ACK_WAIT_S = 30.0
# A reader without a name is forgotten by the server when it has not asked for so long, and begins anew where it was.
FORGET_S = 60.0


class History:
    """One reader. Lives in one asyncio loop; a task says that what has been fetched is still being worked at."""

    def __init__(
        self, client: Client, broken: asyncio.Event, subjects: list[str], durable: str | None,
        since: datetime | Beginning | None, follow: bool, wait: bool,
    ) -> None:  # fmt: skip
        """`broken` is set whenever the connection breaks: what was asked then is never answered."""
        self._client = client
        self._broken = broken
        self._jetstream: JetStreamContext = client.jetstream()
        self._subjects = subjects
        self._durable = durable
        self._since = since if since is not None or follow else "beginning"
        self._follow = follow
        self._wait = wait
        self._last = 0  # number in the stream of the last message given
        self._open: dict[int, Msg] = {}  # fetched and not yet done with, by number
        self._attached = False
        self._told = ""

    async def messages(self) -> AsyncGenerator[Msg, None]:
        """Those of the past that are wanted, then those that come; each is to be `done`.

        Raises:
            NatsError: there is no events stream, and nobody is to wait for it.
        """
        working = asyncio.create_task(self._work())
        try:
            while True:
                try:
                    await self._connected()
                    info = await self._attach()
                    self._attached = True
                    if not self._follow and not info.num_pending and not info.num_ack_pending:
                        return
                    async for message in self._pull(str(info.name)):
                        yield message
                    if not self._follow:
                        return
                except nats.errors.ConnectionReconnectingError:
                    continue
                except FAILURES as error:
                    await self._later(error)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def done(self, message: Msg) -> None:
        """It has been taken."""
        self._open.pop(message.metadata.sequence.stream, None)
        if self._durable is not None:
            with contextlib.suppress(*FAILURES):  # it comes once more then
                await message.ack()

    async def _attach(self) -> ConsumerInfo:
        """The consumer that remembers our place."""
        if self._durable is None:
            info = await self._jetstream.add_consumer(EVENTS_STREAM, self._begin(AckPolicy.NONE))
            if self._since is None and info.delivered is not None:
                self._last = max(self._last, info.delivered.stream_seq)  # new ones are those after this
            return info
        try:
            info = await self._jetstream.consumer_info(EVENTS_STREAM, self._durable)
        except NotFoundError:
            return await self._jetstream.add_consumer(EVENTS_STREAM, self._begin(AckPolicy.EXPLICIT))
        config = info.config
        filters = config.filter_subjects or ([config.filter_subject] if config.filter_subject else [])
        if sorted(filters) != sorted(self._subjects):
            config.filter_subject, config.filter_subjects = None, self._subjects
            info = await self._jetstream.add_consumer(EVENTS_STREAM, config)
        if info.num_ack_pending:
            # Given to a reader that is gone: once more from there, rather than newer ones first.
            self._open.clear()
            try:
                info = (await self._client.jsm().reset_consumer(EVENTS_STREAM, self._durable)).info
            except (NotFoundError, nats.errors.NoRespondersError, nats.errors.TimeoutError):
                log.debug("this server cannot reset consumers: what was not taken comes again after %g s", ACK_WAIT_S)
        return info

    def _begin(self, acks: AckPolicy) -> ConsumerConfig:
        config = ConsumerConfig(
            filter_subjects=self._subjects, ack_policy=acks, deliver_policy=DeliverPolicy.NEW, ack_wait=ACK_WAIT_S,
            max_ack_pending=BATCH,
        )  # fmt: skip
        if self._durable is not None:
            config.durable_name = self._durable
        else:
            config.inactive_threshold = FORGET_S
            config.max_ack_pending = None
        if self._last and self._durable is None:
            config.deliver_policy, config.opt_start_seq = DeliverPolicy.BY_START_SEQUENCE, self._last + 1
        elif self._since == "beginning":
            config.deliver_policy = DeliverPolicy.ALL
        elif self._since is not None:
            config.deliver_policy, config.opt_start_time = DeliverPolicy.BY_START_TIME, self._since
        return config

    async def _pull(self, consumer: str) -> AsyncGenerator[Msg, None]:
        subscription = await self._jetstream.pull_subscribe_bind(consumer, EVENTS_STREAM)
        waiting = 0
        try:
            while True:
                try:
                    fetched = await self._unbroken(
                        subscription.fetch(min(waiting, BATCH), BATCH_S) if waiting else subscription.fetch(1, WAIT_S)
                    )
                except TimeoutError:
                    waiting = 0
                    info = await subscription.consumer_info()  # is it still there?
                    if not self._follow and not info.num_pending and not info.num_ack_pending:
                        return
                    continue
                self._told = ""
                fresh = [one for one in fetched if one.metadata.sequence.stream not in self._open]
                self._open |= {one.metadata.sequence.stream: one for one in fresh}
                for message in fresh:
                    self._last = max(self._last, message.metadata.sequence.stream)
                    yield message
                waiting = fetched[-1].metadata.num_pending
                if not waiting and not self._follow:
                    return
        finally:
            await subscription.unsubscribe()

    async def _unbroken(self, asking: Coroutine[Any, Any, list[Msg]]) -> list[Msg]:
        """The answer; an error as soon as the connection breaks, and not only after the time for an answer."""
        asked = asyncio.create_task(asking)
        breaking = asyncio.create_task(self._broken.wait())
        try:
            await asyncio.wait([asked, breaking], return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise nats.errors.ConnectionReconnectingError
            return asked.result()
        finally:
            asked.cancel()
            breaking.cancel()
            await asyncio.gather(asked, breaking, return_exceptions=True)

    async def _connected(self) -> None:
        while not self._client.is_connected:
            await asyncio.sleep(RETRY_S / 10)
        self._broken.clear()

    async def _later(self, error: Exception) -> None:
        """Tells why it cannot go on, once, and waits a little."""
        gone = isinstance(error, NotFoundError)
        trouble = Trouble(
            Code.NO_ANSWER,
            f"there is no JetStream stream {EVENTS_STREAM}" if gone else f"events cannot be read: {error}",
            "has Vigil run there?" if gone else "see the server's log, and what our login may do",
        )
        if not self._wait and not self._attached:
            raise NatsError(trouble)
        if str(trouble) != self._told:
            self._told = str(trouble)
            log.warning("%s; trying again", trouble)
        await asyncio.sleep(RETRY_S)

    async def _work(self) -> None:
        """Keeps the server from giving what we have to somebody else, or to us again."""
        while True:
            await asyncio.sleep(ACK_WAIT_S / 3)
            if self._durable is not None and self._client.is_connected:
                for message in list(self._open.values()):
                    with contextlib.suppress(*FAILURES):
                        await message.in_progress()
