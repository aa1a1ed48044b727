"""Questions from the supervisor to a child over their control socket, and the child's answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from ingest.errors import VigilError
from vigil.control import Control, Order

log = structlog.get_logger()

ASK_S = 15.0

Answering = Callable[..., Awaitable[dict[str, Any]]]


class UnansweredError(VigilError):
    """The child is gone, or did not answer in time."""

    code = "worker.unanswered"


class DeclinedError(VigilError):
    """The child's answer is no; `code` and the message are those of the error it met."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Questions:
    """The questions that one child has yet to answer. Lives in the supervisor's loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last = 0
        self._gone = False

    async def ask(self, send: Callable[..., None], question: str, timeout_s: float, **data: Any) -> dict[str, Any]:
        """Sends the question by `send` and waits for the answer.

        Raises:
            UnansweredError, DeclinedError
        """
        if self._gone:
            raise UnansweredError(f"{self._name} has ended")
        self._last += 1
        number = self._last
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._open[number] = waiting
        try:
            send("ask", number=number, question=question, asked=data)
            async with asyncio.timeout(timeout_s):
                return await waiting
        except TimeoutError:
            raise UnansweredError(f"{self._name} did not answer {question!r} within {timeout_s:g} s") from None
        finally:
            del self._open[number]

    def answered(self, order: Order) -> None:
        """Takes the child's answer; one that nobody waits for any more is thrown away."""
        waiting = self._open.get(order.data["number"])
        if waiting is None or waiting.done():
            return
        if "refused" in order.data:
            waiting.set_exception(DeclinedError(**order.data["refused"]))
        else:
            waiting.set_result(order.data["answer"])

    def abandon(self) -> None:
        """The child is gone and answers nothing any more."""
        self._gone = True
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(UnansweredError(f"{self._name} ended before it answered"))


async def answer(control: Control, order: Order, answering: Callable[[str, dict[str, Any]], Awaitable[Any]]) -> None:
    """Has `answering` answer a question of the supervisor's, by its name and what was asked, and sends that back.

    A file descriptor that came with the question is asked with, as `into`, and closed when that is answered.
    """
    number, question = order.data["number"], order.data["question"]
    lent = {"into": order.fds[0]} if order.fds else {}
    try:
        reply = {"answer": await answering(question, {**order.data["asked"], **lent})}
    except VigilError as error:
        reply = {"refused": {"code": error.code, "message": str(error)}}
    except Exception as error:  # one question that fails must not take the other streams with it
        log.exception("a question could not be answered", question=question)
        reply = {"refused": {"code": "worker.failed", "message": type(error).__name__}}
    finally:
        for fd in order.fds:
            os.close(fd)
    control.send("answer", number=number, **reply)
