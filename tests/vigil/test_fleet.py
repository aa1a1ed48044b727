"""Which worker serves which stream, as streams come and go and workers die. Only the processes are made up."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from ingest.reconnect import StreamState
from publish.config import NatsConfig
from publish.metrics import MergedMetrics
from tracking.config import TrackerConfig
from vigil.child import Child
from vigil.config import StreamConfig, VigilConfig, WorkersConfig
from vigil.control import Order
from vigil.fleet import MOST_ALONE, Fleet, Surroundings, Wanted
from vigil.layout import DetectorPlace, Shard, detectors_of
from vigil.orders import MediaOrder, StreamOrder

PER_WORKER = 3


class Process:
    """A worker that remembers what it was told, and does it when asked to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready, self.ended = asyncio.Event(), asyncio.Event()
        self.ready.set()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.exit_code: int | None = None
        self.crashed_thread: int | None = None
        self.started_at = time.monotonic()
        self.pid = id(self)

    def send(self, kind: str, fds: Sequence[int] = (), **data: Any) -> None:
        del fds
        self.told.append((kind, data))

    def dies(self, code: int, thread: int | None = None) -> None:
        self.exit_code, self.crashed_thread = code, thread
        self.ended.set()

    def kill(self) -> None:
        self.dies(-signal.SIGKILL)

    async def stop(self, timeout_s: float) -> None:
        del timeout_s
        self.dies(0)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]


class World:
    """A fleet and everything it was given."""

    def __init__(self, names: str) -> None:
        self.processes: list[Process] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.states: dict[str, tuple[StreamState, dict[str, Any]]] = {}
        self.gone: list[str] = []
        (self.place,) = detectors_of(VigilConfig(streams={}))[None]
        self.fleet = Fleet(WorkersConfig(streams_per_worker=PER_WORKER), Surroundings(
            site="test", nats=NatsConfig(), nats_url=lambda: "nats://x", outbox=Path("outbox.db"),
            media=MediaOrder(folder=Path("media"), least_free=0),
            traced=0.0, metrics=MergedMetrics(), spawn=self.spawn, task=self.task, told=self.hear, told_here=self.hear,
            gone=self.gone.append, promised=lambda: None, interrupted=self.interrupted,
        ))  # fmt: skip
        self.wanted = {name: self.camera(name) for name in names}

    async def spawn(self, name: str) -> Child:
        self.processes.append(Process(name))
        return self.processes[-1]  # type: ignore[return-value]

    def task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    async def interrupted(self, worker: Child) -> None:
        await asyncio.sleep(0)

    def hear(self, stream: str, state: StreamState, details: dict[str, Any]) -> None:
        self.states[stream] = state, details

    def camera(self, name: str, fps: float | None = None, place: DetectorPlace | None = None) -> Wanted:
        source = StreamConfig(url=f"rtsp://cam/{name}", fps=fps)
        order = StreamOrder(name=name, source=source, tracker=TrackerConfig(), config_rev=f"{name}{fps}")
        return Wanted(order, [place or self.place])

    async def start(self) -> None:
        self.fleet.plan(self.wanted)
        await self.fleet.start()

    def want(self, **changes: Wanted | None) -> None:
        self.wanted = {name: one for name, one in {**self.wanted, **changes}.items() if one is not None}
        self.fleet.want(self.wanted)

    def shard(self, stream: str) -> Shard:
        return next(shard for shard in self.fleet.shards if stream in shard.streams)

    def process(self, stream: str) -> Process:
        process: Any = self.shard(stream).child
        return process

    def removes(self, process: Process, free: bool = True) -> list[str]:
        """The worker does what it was told to remove, and says so."""
        left = []
        for kind, data in list(process.told):
            if kind == "remove":
                process.told.remove((kind, data))
                shard = next(s for s in self.fleet.shards if s.child is process)  # type: ignore[comparison-overlap]
                name = shard.seats[data["number"]].order.name
                self.fleet.hear(process, Order("removed", {"stream": name, "number": data["number"], "free": free}))  # type: ignore[arg-type]
                left.append(name)
        return left

    def layout(self) -> list[str]:
        return sorted("".join(sorted(shard.streams)) for shard in self.fleet.shards)

    async def settles(self, condition: Callable[[], bool]) -> None:
        for _ in range(200):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"not so: {self.layout()}")

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def in_world(names: str, story: Callable[[World], Awaitable[None]]) -> None:
    async def told() -> None:
        world = World(names)
        await world.start()
        try:
            await story(world)
        finally:
            await world.end()

    asyncio.run(told())


def test_streams_are_spread_evenly_and_a_new_one_goes_where_there_is_room() -> None:
    async def story(world: World) -> None:
        assert world.layout() == ["ab", "cd"]
        world.want(e=world.camera("e"))
        assert world.process("e").kinds()[-1] == "add"
        assert world.layout() == ["abe", "cd"]
        world.want(f=world.camera("f"), g=world.camera("g"))
        await world.settles(lambda: all(shard.child is not None for shard in world.fleet.shards))
        assert sorted(map(len, world.layout())) == [1, 3, 3]
        assert "assign" in world.process("g").kinds()

    in_world("abcd", story)


def test_a_removed_stream_leaves_its_number_when_its_worker_says_so_and_an_empty_worker_ends() -> None:
    async def story(world: World) -> None:
        process = world.process("c")
        world.want(c=None)
        assert world.gone == []
        assert world.removes(process) == ["c"]
        assert world.gone == ["c"]
        world.want(d=None)
        world.removes(process)
        await world.settles(lambda: process.ended.is_set())
        assert world.layout() == ["ab"]

    in_world("abcd", story)


def test_only_a_changed_stream_is_begun_anew_and_in_its_worker() -> None:
    async def story(world: World) -> None:
        process = world.process("a")
        world.want(b=world.camera("b", fps=5))
        assert process.kinds().count("remove") == 1
        world.removes(process)
        assert process.told[-1][0] == "add"
        assert process.told[-1][1]["stream"]["source"]["fps"] == 5
        assert world.gone == []

    in_world("ab", story)


def test_another_detector_is_introduced_and_no_stream_is_touched() -> None:
    async def story(world: World) -> None:
        (other,) = detectors_of(VigilConfig(streams={}))[None]
        process = world.process("a")
        world.want(a=world.camera("a", place=other), b=world.camera("b", place=other))
        assert world.shard("a").detector is other
        assert "remove" not in process.kinds()

    in_world("ab", story)


@pytest.mark.parametrize("thread", [77, None])
def test_the_stream_whose_thread_crashed_is_kept_apart(thread: int | None) -> None:
    async def story(world: World) -> None:
        shard = world.shard("b")
        assert shard.activity is not None
        number = shard.number_of("b")
        assert number is not None
        shard.activity.read_by(number, 77)
        world.process("b").dies(-signal.SIGSEGV, thread)
        await world.settles(lambda: shard.child is not None and not shard.child.ended.is_set())
        assert world.layout() == (["ac", "b"] if thread else ["abc"])
        if thread:
            assert world.shard("b").alone
            assert world.states["b"][1]["reason"] == "crash"

    in_world("abc", story)


def test_a_killed_worker_is_replaced_and_nobody_is_blamed() -> None:
    async def story(world: World) -> None:
        old = world.process("a")
        old.kill()
        await world.settles(lambda: world.process("a") is not None and world.process("a") is not old)
        assert (world.layout(), world.states) == (["abc"], {})

    in_world("abc", story)


def test_crashes_that_no_stream_can_be_named_for_divide_the_streams_until_one_is_found() -> None:
    async def story(world: World) -> None:
        for _ in range(12):
            process = world.process("b")
            process.dies(-signal.SIGSEGV)
            await asyncio.sleep(0)
            world.shard("b").restarts = max(world.shard("b").restarts, 2) if "b" in "".join(world.layout()) else 0
            await world.settles(lambda old=process: "b" in world.states or (
                world.process("b") is not None and world.process("b") is not old))  # type: ignore[misc]  # fmt: skip
            if "b" in world.states:
                break
        assert list(world.states) == ["b"]

    in_world("abc", story)


def test_a_stream_that_hangs_moves_away_and_its_neighbours_stay() -> None:
    async def story(world: World) -> None:
        shard, process = world.shard("b"), world.process("b")
        number = shard.number_of("b")
        assert shard.activity is not None and number is not None
        shard.activity.enter(number, time.monotonic_ns() - 10**9, 0.5)
        world.fleet.look_after()
        assert process.told[-1] == ("remove", {"number": number, "patience_s": 0.0, "paused": False})
        world.removes(process, free=False)
        await world.settles(lambda: world.process("b") is not None)
        assert world.layout() == ["ac", "b"]
        assert shard.stuck == {number}
        assert not process.ended.is_set()
        world.fleet.hear(process, Order("freed", {"number": number}))  # type: ignore[arg-type]
        assert shard.stuck == set()

    in_world("abc", story)


def test_when_all_hang_at_once_a_few_move_and_the_others_wait_visibly() -> None:
    async def story(world: World) -> None:
        for name in world.wanted:
            shard = world.shard(name)
            world.fleet.hear(world.process(name), Order("state", {"stream": name, "state": "live", "details": {}}))  # type: ignore[arg-type]
            number = shard.number_of(name)
            assert shard.activity is not None and number is not None
            shard.activity.enter(number, time.monotonic_ns() - 10**9, 0.5)
        world.fleet.look_after()
        for process in list(world.processes):
            world.removes(process, free=False)
        world.fleet.look_after()
        for process in list(world.processes):
            world.removes(process, free=False)
        world.fleet.look_after()
        states = [state for state, _ in world.states.values()]
        assert sum(shard.alone for shard in world.fleet.shards) == MOST_ALONE
        assert states.count(StreamState.STALLED) == len(world.wanted) - MOST_ALONE
        waiting = next(name for name, (state, _) in world.states.items() if state is StreamState.STALLED)
        shard = world.shard(waiting)
        number = shard.number_of(waiting)
        assert shard.activity is not None and number is not None
        shard.activity.leave(number)
        world.fleet.look_after()
        assert world.states[waiting][0] is StreamState.LIVE

    in_world("abcdefgh", story)
