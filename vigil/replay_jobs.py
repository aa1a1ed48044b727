"""Recordings side by side, in processes of their own: one that a recording brings down takes no other with it.

| runs                                   | where                                           |
|----------------------------------------|-------------------------------------------------|
| giving out recordings, hearing of them | a thread for each process, in `side_by_side`    |
| analysing them, one after the other    | `python -m vigil.replay_jobs`                   |

A process reads its request and then recordings from its standard input, a JSON line each, and tells on its standard
output what comes of them. It ends with its input, and with its parent.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from ingest.errors import VigilError
from vigil import logging
from vigil.asking import DeclinedError
from vigil.processes import dying_with_us
from vigil.recording import Analyst
from vigil.replay import Outcome, Request, Tell, TellOf, replay
from vigil.replay_files import part_of


class CrashedError(VigilError):
    """The process that analysed a recording ended before it did."""

    code = "replay.crashed"


def side_by_side(request: Request, files: Sequence[Path], jobs: int, tell: TellOf) -> list[Outcome]:
    """Analyses recordings in up to `jobs` processes at once; the outcomes are in the order of `files`.

    Raises:
        VigilError: the model cannot be loaded.
    """
    waiting = deque(enumerate(files))
    outcomes: dict[int, Outcome] = {}
    processes: list[_Process] = []
    stopped = threading.Event()

    def work() -> None:
        process: _Process | None = None
        while waiting:
            try:
                index, file = waiting.popleft()
            except IndexError:  # another thread was quicker
                break
            began = time.monotonic()
            try:
                if process is None:
                    process = _Process(request)
                    processes.append(process)
                    if stopped.is_set():  # while it was being started
                        process.kill()
                outcomes[index] = process.replay(file, partial(tell, file))
            except CrashedError as error:
                process = None
                _tidy(request, file)
                seconds = time.monotonic() - began
                outcomes[index] = Outcome(str(file), 0, 0, 0.0, seconds, error=str(error), code=error.code)
        if process is not None:
            process.end()

    with ThreadPoolExecutor(min(jobs, len(files))) as pool:
        try:
            for one in as_completed([pool.submit(work) for _ in range(min(jobs, len(files)))]):
                one.result()
        except BaseException:  # Ctrl-C, or the model cannot be loaded: nobody waits for the others
            waiting.clear()
            stopped.set()
            for process in processes:
                process.kill()
            raise
        finally:
            pool.shutdown()
            for index, file in enumerate(files):
                if index not in outcomes:
                    _tidy(request, file)
    return [outcomes[index] for index in sorted(outcomes)]


def _tidy(request: Request, file: Path) -> None:
    """Takes away what a process has left unfinished."""
    for target in request.targets(file).values():
        part_of(target).unlink(missing_ok=True)


class _Process:
    """Our end of one."""

    def __init__(self, request: Request) -> None:
        self._child = subprocess.Popen(
            dying_with_us(sys.executable, "-m", "vigil.replay_jobs"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self._say(request.model_dump(mode="json"))

    def replay(self, file: Path, tell: Tell) -> Outcome:
        """
        Raises:
            DeclinedError: the process could not begin.
            CrashedError: it ended.
        """
        self._say(str(file))
        assert self._child.stdout is not None
        for line in self._child.stdout:
            match json.loads(line):
                case {"frames": [int(done), of]}:
                    tell(done, of)
                case {"refused": told}:
                    raise DeclinedError(**told)
                case {"outcome": told}:
                    return Outcome(**told)
        raise CrashedError(f"the process that analysed it ended ({_end(self._child.wait())})")

    def end(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait()

    def kill(self) -> None:
        self._child.kill()

    def _say(self, what: object) -> None:
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which reading from it tells
            print(json.dumps(what), file=self._child.stdin, flush=True)


def _end(returned: int) -> str:
    return signal.Signals(-returned).name if returned < 0 else f"exit code {returned}"


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not for the parent

    def say(**told: object) -> None:
        print(json.dumps(told), file=out, flush=True)

    logging.configure("warning", "console")
    request = Request.model_validate_json(sys.stdin.readline())
    try:
        analyst = Analyst.load(request.settings())
    except VigilError as error:
        say(refused={"message": str(error), "code": error.code})
        return
    for line in sys.stdin:
        outcome = replay(Path(json.loads(line)), analyst, request, lambda done, of: say(frames=[done, of]))
        say(outcome=asdict(outcome))


if __name__ == "__main__":
    main()
