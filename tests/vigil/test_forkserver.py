"""Forking: what is forked is a child of whoever asked, and a fork that fails is an answer."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from ingest.compiled import _cache_folder
from vigil import forkserver
from vigil.child import Child
from vigil.control import Control
from vigil.forkserver import ForkServer
from vigil.processes import Process

CHILD = """
import os

def is_open(fd):
    try:
        os.fstat(fd)
        return True
    except OSError:
        return False

def main(control):
    control.send("ready", session=os.getsid(0), open=[fd for fd in range(1024) if is_open(fd)])
    control.receive()
    os._exit(7)
"""


COMPILING = """
import os
from pathlib import Path
import ingest.compiled

SERVER = os.getpid()

def work():
    Path(__file__).with_name(f"done by {os.getpid()}").touch()

def fragile_work():
    if os.getpid() != SERVER:
        os.abort()
    work()

WARM_UPS = (fragile_work, work)
"""


@pytest.fixture
def child_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that can be forked, and quickly imported."""
    (tmp_path / "forked_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))
    return "forked_child"


def is_inherited(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # of listing them
        return False


async def started(name: str, process: Process) -> tuple[Child, dict[str, Any]]:
    told: dict[str, Any] = {}
    child = Child(name, process, lambda _, order: told.update(order.data))
    async with asyncio.timeout(20):
        await child.ready.wait()
    return child, told


def test_what_is_forked_is_our_child_and_ends_as_any_other(child_module: str) -> None:
    async def play() -> None:
        server = ForkServer(forkserver.launch([child_module]))
        child, told = await started("worker-7", await server.fork("worker-7", child_module))
        assert told["session"] == child.pid  # its own: Ctrl-C in the terminal is not for it
        inherited = {int(fd) for fd in os.listdir("/proc/self/fd") if is_inherited(int(fd))}
        assert len(set(told["open"]) - inherited - {0, 1, 2}) == 1, "its control, and nothing of others"
        assert Path(f"/proc/{child.pid}/cmdline").read_text().rstrip("\0 ") == "vigil worker-7"
        await server.stop(5.0)
        child.send("end")
        async with asyncio.timeout(5):
            await child.ended.wait()
        assert child.exit_code == 7

    asyncio.run(play())


@pytest.mark.parametrize("before", [False, True])
def test_what_compiles_does_so_beside_the_fork_server_the_first_time(
    before: bool, child_module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compiling.py").write_text(COMPILING)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if before:
        (_cache_folder() / "compiled.nbi").touch()

    async def play() -> int:
        server = ForkServer(forkserver.launch(["compiling", child_module]))
        child, _ = await started("worker-0", await server.fork("worker-0", child_module))
        done = {int(file.name.split()[-1]) for file in tmp_path.glob("done by *")}
        assert server.pid in done, "what was compiled elsewhere is loaded here"
        child.kill()
        await server.stop(5.0)
        return len(done)

    assert asyncio.run(play()) == (1 if before else 2)


def test_a_fork_server_that_is_gone_cannot_be_asked(child_module: str) -> None:
    async def play() -> None:
        server = ForkServer(forkserver.launch([child_module]))
        child, _ = await started("worker-0", await server.fork("worker-0", child_module))
        server.kill()
        with pytest.raises(OSError, match="fork server"):
            await server.fork("worker-1", child_module)
        child.kill()
        async with asyncio.timeout(5):
            await child.ended.wait()
        assert child.exit_code == -9  # although who forked it is gone

    asyncio.run(play())


def test_a_fork_that_fails_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_more)
    supervisor, theirs = Control.pair()
    serving = threading.Thread(target=forkserver._serve, args=[Control(theirs), []])
    serving.start()
    reading, writing = os.pipe()
    descriptors = len(os.listdir("/proc/self/fd"))
    supervisor.send("ask", [reading, writing], number=1, asked={"name": "worker-0", "module": "vigil.worker"})
    answer = supervisor.receive()
    assert answer is not None and answer.data["refused"]["message"] == "cannot fork: Resource temporarily unavailable"
    assert len(os.listdir("/proc/self/fd")) == descriptors
    supervisor.send("stop")
    serving.join(5)
    assert not serving.is_alive()
    for fd in (reading, writing):
        os.close(fd)
    theirs.close()
    supervisor.close()
