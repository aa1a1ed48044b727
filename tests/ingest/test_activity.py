import os
import signal
import time

from ingest.activity import NEVER, Activity

SECOND = 1_000_000_000


def test_another_mapping_sees_which_calls_should_have_returned() -> None:
    ours = Activity.create(3)
    theirs = Activity(os.dup(ours.fd), 3)
    ours.enter(0, 10 * SECOND, 5.0)
    ours.enter(2, 10 * SECOND, 1.0)
    assert theirs.overdue(11 * SECOND) == []  # exactly then is in time
    assert theirs.overdue(11 * SECOND + 1) == [2]
    assert theirs.overdue(16 * SECOND) == [0, 2]
    ours.leave(0)
    ours.leave(2)
    assert theirs.overdue(60 * SECOND) == []


def test_a_thread_is_found_by_the_stream_it_reads_until_its_process_is_gone() -> None:
    activity = Activity.create(2)
    activity.read_by(1, 0x7F00DEADBEEF)
    assert (activity.of_thread(0x7F00DEADBEEF), activity.of_thread(1)) == (1, None)
    activity.clear()
    assert activity.of_thread(0x7F00DEADBEEF) is None


def test_another_mapping_sees_how_fresh_a_stream_is_and_a_new_one_begins_anew() -> None:
    ours = Activity.create(2)
    theirs = Activity(os.dup(ours.fd), 2)
    ours.frame(1, 5 * SECOND)
    ours.analysed(1, 4 * SECOND)
    assert (theirs.fresh(0), theirs.fresh(1)) == ((NEVER, NEVER), (5 * SECOND, 4 * SECOND))
    theirs.clear()
    assert theirs.fresh(1) == (5 * SECOND, 4 * SECOND), "a worker's end makes nothing fresher, nor older"
    theirs.begin(1)
    assert theirs.fresh(1) == (NEVER, NEVER)


def test_a_call_that_returns_while_somebody_looks_is_not_overdue() -> None:
    activity = Activity.create(1)
    reader = os.fork()
    if not reader:
        while True:
            activity.enter(0, time.monotonic_ns(), 60)
            activity.leave(0)
    try:
        ends = time.monotonic() + 0.5
        while time.monotonic() < ends:
            assert activity.overdue(time.monotonic_ns()) == []
    finally:
        os.kill(reader, signal.SIGKILL)
        os.waitpid(reader, 0)
        activity.close()
