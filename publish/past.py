"""Pages of past events, newest first, out of JetStream, which itself only reads forwards.

A consumer that begins at some number is told by the server how many messages match from there on: so the place from
which a page's worth follows is found by asking, a few times, and only that is read. Consumers live in the server's
memory for moments.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

from publish.subjects import EVENTS_STREAM
from publish.trouble import FAILURES, Code, NatsError, Trouble

ANSWER_S = 5.0
# A consumer that was not deleted goes by itself.
FORGET_S = 30.0
# More than a page is read rather than asked about once more.
READ_AT_MOST = 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events.

    Attributes:
        subjects: those on which they were published.
        since, until: when JetStream has stored them, both included; None: at any time.
        below: only those with a smaller number in the stream, of which the page before this one ended; None: all.
        limit: how many at most.
    """

    subjects: Sequence[str]
    since: datetime | None
    until: datetime | None
    below: int | None
    limit: int


@dataclass(frozen=True, slots=True)
class Page:
    """Event messages, newest first; `below` is what asks for the next page, None: there is none."""

    events: list[dict[str, Any]]
    below: int | None


class Past:
    """Asks one server's events stream."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._jetstream = client.jetstream(timeout=ANSWER_S)

    async def page(self, wanted: Wanted) -> Page:
        """Raises NatsError: JetStream does not answer, or has no events stream."""
        try:
            return await self._page(wanted)
        except FAILURES as error:
            gone = isinstance(error, NotFoundError)
            words = (
                f"there is no JetStream stream {EVENTS_STREAM} yet" if gone else f"JetStream does not answer: {error}"
            )
            mend = "it comes with the first connection to NATS; see /api/v1/nats"
            raise NatsError(Trouble(Code.NO_ANSWER, words, mend)) from None

    async def _page(self, wanted: Wanted) -> Page:
        state = (await self._jetstream.stream_info(EVENTS_STREAM)).state
        first, end = state.first_seq, state.last_seq + 1
        if wanted.since is not None:
            first = max(first, await self._number_at(wanted.since))
        if wanted.until is not None:
            end = min(end, await self._number_at(wanted.until))
        if wanted.below is not None:
            end = min(end, wanted.below)
        if first >= end:
            return Page([], None)
        beyond = await self._matching(wanted.subjects, end)
        begin, count = await self._beginning(wanted, first, end, beyond)
        if count <= 0:
            return Page([], None)
        found = await self._read(wanted.subjects, begin, count)
        newest = [(number, body) for number, body in found if number < end][::-1][: wanted.limit]
        more = len(newest) == wanted.limit and (begin > first or count > wanted.limit)
        return Page([body for _, body in newest], newest[-1][0] if more else None)

    async def _beginning(self, wanted: Wanted, first: int, end: int, beyond: int) -> tuple[int, int]:
        """From which number to read so that a page's worth follows before `end`, and how many messages that are."""
        low, high = first, end  # what is wanted begins at or after `low`, and before `high`
        begin = max(first, end - wanted.limit)
        step = wanted.limit
        while True:
            count = await self._matching(wanted.subjects, begin) - beyond
            if begin == first and count <= READ_AT_MOST * wanted.limit:
                return begin, count
            if count < wanted.limit:
                high = begin
                step *= 4
                begin = max(first, begin - step) if low == first else (low + high) // 2
            elif count <= READ_AT_MOST * wanted.limit:
                return begin, count
            else:
                low = begin
                begin = (low + high) // 2

    async def _number_at(self, when: datetime) -> int:
        """The number of the first message that was stored then or later."""
        config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=when)
        info = await self._consumer(config)
        await self._drop(info)
        assert info.delivered is not None
        return info.delivered.stream_seq + 1

    async def _matching(self, subjects: Sequence[str], begin: int) -> int:
        """How many messages there are from a number on."""
        info = await self._consumer(_from(subjects, begin))
        await self._drop(info)
        return info.num_pending or 0

    async def _read(self, subjects: Sequence[str], begin: int, count: int) -> list[tuple[int, dict[str, Any]]]:
        """So many messages from a number on, with their numbers."""
        info = await self._consumer(_from(subjects, begin))
        subscription = await self._jetstream.pull_subscribe_bind(str(info.name), EVENTS_STREAM)
        found: list[Msg] = []
        try:
            while len(found) < count:
                found += await subscription.fetch(min(count - len(found), 256), ANSWER_S)
        except nats.errors.TimeoutError:
            pass  # the oldest of them have gone meanwhile
        finally:
            await subscription.unsubscribe()
            await self._drop(info)
        return [(one.metadata.sequence.stream, json.loads(one.data)) for one in found]

    async def _consumer(self, config: ConsumerConfig) -> ConsumerInfo:
        config.ack_policy, config.mem_storage, config.inactive_threshold = AckPolicy.NONE, True, FORGET_S
        return await self._jetstream.add_consumer(EVENTS_STREAM, config)

    async def _drop(self, consumer: ConsumerInfo) -> None:
        with contextlib.suppress(NotFoundError):
            await self._jetstream.delete_consumer(EVENTS_STREAM, str(consumer.name))


def _from(subjects: Sequence[str], begin: int) -> ConsumerConfig:
    return ConsumerConfig(
        filter_subjects=list(subjects), deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=max(1, begin)
    )
