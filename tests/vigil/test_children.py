"""The supervisor looks after its processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest
import structlog

from publish.metrics import MergedMetrics
from vigil.child import Child
from vigil.children import SILENCE_S, START_SILENCE_S, Children


class Silent:
    """A process that says nothing, and takes its time to end."""

    pid = 4242

    def __init__(self, name: str, ready: bool, silent_s: float) -> None:
        self.name = name
        self.last_beat = time.monotonic() - silent_s
        self.ready, self.ended = asyncio.Event(), asyncio.Event()
        if ready:
            self.ready.set()
        self.exit_code: int | None = None
        self.told_to_stop = False
        self.kills = 0

    def kill(self) -> None:
        self.kills += 1


@pytest.mark.parametrize(
    ("ready", "silent_s", "kills"),
    [(True, SILENCE_S + 1, 1), (True, SILENCE_S - 1, 0), (False, SILENCE_S + 1, 0), (False, START_SILENCE_S + 1, 1)],
)
def test_a_process_that_hangs_is_killed_and_told_of_once(ready: bool, silent_s: float, kills: int) -> None:
    async def play() -> None:
        tasks: list[asyncio.Task[None]] = []

        def task(work: Coroutine[Any, Any, None], name: str) -> None:
            tasks.append(asyncio.create_task(work, name=name))

        ended: list[Child] = []
        family = Children(MergedMetrics(), task, ended.append)
        child = Silent("worker-0", ready, silent_s)
        family.watch(child)  # type: ignore[arg-type]
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                family.look_after()
        assert (child.kills, len(logs)) == (kills, kills)
        assert family.pids() == {"worker-0": 4242}
        child.ended.set()
        await asyncio.gather(*tasks)
        assert ended == [child] and not family.pids() and not family.living

    asyncio.run(play())


def test_nothing_is_asked_of_those_that_have_ended() -> None:
    async def play() -> None:
        family = Children(MergedMetrics(), lambda work, name: work.close(), lambda child: None)
        await family.stop(1.0, [Silent("worker-0", True, 0), None])  # type: ignore[list-item]

    asyncio.run(play())
