"""The supervisor asks, a child answers; whatever becomes of the child, whoever asked hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ingest.errors import VigilError
from vigil.asking import DeclinedError, Questions, UnansweredError, answer
from vigil.control import Control


class TooEarlyError(VigilError):
    code = "test.too_early"


async def clerk(question: str, asked: dict[str, Any]) -> dict[str, Any]:
    match question:
        case "double":
            return {"double": 2 * asked["number"]}
        case "early":
            raise TooEarlyError("come back later")
        case "broken":
            raise ValueError("the password is hunter2")
        case "never":
            await asyncio.Event().wait()
    raise AssertionError(question)


class Office:
    """Both ends of a control socket: who asks, and a child that answers by `clerk`."""

    def __init__(self) -> None:
        self.ours, theirs = Control.pair()
        self.theirs = Control(theirs)
        self.questions = Questions("worker-0")
        loop = asyncio.get_running_loop()
        loop.add_reader(self.ours.link, lambda: self.questions.answered(self.ours.receive()))  # type: ignore[arg-type]
        loop.add_reader(self.theirs.link, self._asked)
        self.tasks: set[asyncio.Task[None]] = set()

    def _asked(self) -> None:
        order = self.theirs.receive()
        assert order is not None
        self.tasks.add(asyncio.create_task(answer(self.theirs, order, clerk)))

    async def ask(self, question: str, timeout_s: float = 5.0, **data: Any) -> dict[str, Any]:
        return await self.questions.ask(lambda kind, **told: self.ours.send(kind, **told), question, timeout_s, **data)


def in_office(scene: Callable[[Office], Awaitable[None]]) -> None:
    async def play() -> None:
        office = Office()
        async with asyncio.timeout(10):
            await scene(office)
        for task in office.tasks:
            task.cancel()

    asyncio.run(play())


def test_each_question_gets_its_own_answer() -> None:
    async def scene(office: Office) -> None:
        answers = await asyncio.gather(*(office.ask("double", number=number) for number in range(5)))
        assert answers == [{"double": 2 * number} for number in range(5)]

    in_office(scene)


def test_a_refusal_keeps_its_code_and_words() -> None:
    async def scene(office: Office) -> None:
        with pytest.raises(DeclinedError, match="come back later") as caught:
            await office.ask("early")
        assert caught.value.code == "test.too_early"

    in_office(scene)


def test_a_clerk_that_breaks_refuses_and_gives_nothing_away() -> None:
    async def scene(office: Office) -> None:
        with pytest.raises(DeclinedError) as caught:
            await office.ask("broken")
        assert (caught.value.code, str(caught.value)) == ("worker.failed", "ValueError")

    in_office(scene)


def test_no_answer_in_time_is_told_and_a_late_one_does_no_harm() -> None:
    async def scene(office: Office) -> None:
        with pytest.raises(UnansweredError, match=r"within 0\.05 s"):
            await office.ask("never", timeout_s=0.05)
        office.theirs.send("answer", number=1, answer={})
        assert await office.ask("double", number=4) == {"double": 8}

    in_office(scene)


def test_a_child_that_dies_answers_by_its_death() -> None:
    async def scene(office: Office) -> None:
        asking = asyncio.create_task(office.ask("never"))
        await asyncio.sleep(0)
        office.questions.abandon()
        with pytest.raises(UnansweredError, match="ended"):
            await asking
        with pytest.raises(UnansweredError, match="ended"):
            await office.ask("double", number=1)

    in_office(scene)
