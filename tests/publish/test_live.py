"""What happens is told to all who listen; who is too slow loses figures first, and then the connection."""

from __future__ import annotations

import asyncio

import pytest

from publish.live import MOST_LISTENERS, MOST_WAITING, Audience, FullError, Told


async def heard(audience: Audience, count: int, tell: list[Told]) -> list[str]:
    listener = audience.join()
    for told in tell:
        (audience.tell_latest if told.kind == "system" else audience.tell)(told)
    bodies: list[str] = []
    async for message in listener.messages(beat_s=0.01):
        if message is None:
            break
        bodies.append(message.body.decode())
        if len(bodies) == count:
            break
    return bodies


def test_events_come_in_order_and_of_figures_only_the_latest() -> None:
    told = [Told("system", b"s1"), Told("event", b"e1"), Told("system", b"s2"), Told("status", b"t1")]
    assert asyncio.run(heard(Audience(), 9, told)) == ["e1", "t1", "s2"]


def test_nothing_is_told_of_but_that_it_lives() -> None:
    async def play() -> None:
        listener = Audience().join()
        messages = listener.messages(beat_s=0.001)
        assert [await anext(messages) for _ in range(3)] == [None, None, None]

    asyncio.run(play())


def test_who_does_not_keep_up_is_cut_off() -> None:
    events = [Told("event", str(n).encode()) for n in range(MOST_WAITING + 1)]
    assert asyncio.run(heard(Audience(), 1, events)) == []
    assert len(asyncio.run(heard(Audience(), MOST_WAITING, events[:-1]))) == MOST_WAITING


def test_others_hear_on_when_one_is_cut_off() -> None:
    async def play() -> None:
        audience = Audience()
        slow, quick = audience.join(), audience.join()
        messages = quick.messages(beat_s=1)
        for n in range(MOST_WAITING * 2):
            audience.tell(Told("event", str(n).encode()))
            told = await anext(messages)
            assert told is not None and told.body == str(n).encode()
        assert [message async for message in slow.messages(beat_s=1)] == []

    asyncio.run(play())


def test_only_so_many_may_listen() -> None:
    async def play() -> None:
        audience = Audience()
        listeners = [audience.join() for _ in range(MOST_LISTENERS)]
        with pytest.raises(FullError):
            audience.join()
        audience.leave(listeners[0])
        audience.join()

    asyncio.run(play())


def test_whoever_feeds_them_knows_whether_anybody_is_there() -> None:
    async def play() -> None:
        audience = Audience()
        waiting = asyncio.create_task(audience.listened_to())
        await asyncio.sleep(0)
        assert not waiting.done()
        listener = audience.join()
        await waiting
        leaving = asyncio.create_task(audience.deserted())
        await asyncio.sleep(0)
        audience.leave(listener)
        await leaving

    asyncio.run(play())
