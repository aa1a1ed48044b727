"""What is promised is on disk, in order, within bounds, until it has been delivered."""

from __future__ import annotations

import multiprocessing
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from publish.outbox import FILE, Durable, Outbox, OutboxError, set_aside

MINE, THEIRS = 1, 2


def message(number: int, size: int = 10, is_event: bool = True, **of_pair: str) -> Durable:
    return Durable(f"s.{number}", {"Nats-Msg-Id": str(number)}, bytes(size), is_event, **of_pair)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / FILE


def numbers(outbox: Outbox, after: int = 0, most: int = 1000) -> list[int]:
    return [int(one.subject.partition(".")[2]) for one in outbox.after(after, most)]


def test_messages_come_out_as_they_went_in_and_in_that_order(file: Path) -> None:
    with closing(Outbox.open(file, MINE)) as writer, closing(Outbox.open(file, THEIRS)) as sender:
        writer.append([message(1), message(2, is_event=False)])
        writer.append([message(3)])
        first, second, third = sender.after(0, 10)
        assert (first.subject, first.headers, first.body, first.is_event) == (
            "s.1", {"Nats-Msg-Id": "1"}, bytes(10), True
        )  # fmt: skip
        assert not second.is_event
        assert first.id < second.id < third.id
        assert numbers(sender, after=first.id, most=1) == [2]


def test_ids_are_never_used_again(file: Path) -> None:
    with closing(Outbox.open(file, MINE)) as outbox:
        outbox.append([message(1)])
        (one,) = outbox.after(0, 1)
        outbox.delivered([one.id])
        outbox.append([message(2)])
        assert numbers(outbox, after=one.id) == [2]


def test_what_was_delivered_is_gone_after_a_restart_and_the_rest_is_there(file: Path) -> None:
    with closing(Outbox.open(file, MINE)) as outbox:
        assert outbox.sequence() is None
        outbox.append([message(n) for n in range(5)])
        outbox.delivered([one.id for one in outbox.after(0, 2)], sequence=77)
    with closing(Outbox.open(file, MINE)) as outbox:
        assert numbers(outbox) == [2, 3, 4]
        assert outbox.sequence() == 77


def test_of_messages_written_together_all_are_kept_or_none(file: Path) -> None:
    with closing(Outbox.open(file, MINE)) as outbox:
        outbox.append([message(1)])
        with closing(sqlite3.connect(file)) as database:
            (pages,) = database.execute("PRAGMA page_count").fetchone()
        outbox._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(sqlite3.Error, match="full"):
            outbox.append([message(2, size=100), message(3, size=100_000)])
        assert numbers(outbox) == [1]
        outbox._database.execute("PRAGMA max_page_count = 100000")
        outbox.append([message(2)])
        assert numbers(outbox) == [1, 2]


def test_what_was_begun_is_unfinished_until_it_ends(file: Path) -> None:
    with closing(Outbox.open(file, MINE)) as mine, closing(Outbox.open(file, THEIRS)) as theirs:
        mine.append([message(1, begins="a"), message(2, size=3, begins="b")])
        theirs.append([message(3, size=5, begins="c")])
        assert mine.unfinished(MINE) == [("a", bytes(10)), ("b", bytes(3))]
        mine.append([message(4, ends="a"), message(5, size=8, renews="b")])
        assert mine.unfinished(MINE) == [("b", bytes(8))]
        assert mine.unfinished() == [("b", bytes(8)), ("c", bytes(5))]


def _write(file: Path, start: int, count: int) -> None:
    with closing(Outbox.open(file, start)) as outbox:
        for n in range(start, start + count):
            outbox.append([message(n)])


def test_several_processes_write_at_once_and_nothing_is_lost(file: Path) -> None:
    Outbox.open(file, MINE).close()
    fork = multiprocessing.get_context("spawn")
    writers = [fork.Process(target=_write, args=(file, start, 200)) for start in (1000, 2000)]
    for one in writers:
        one.start()
    with closing(Outbox.open(file, MINE)) as outbox:
        gone: list[int] = []
        while any(one.is_alive() for one in writers) or outbox.after(0, 1):
            found = outbox.after(0, 50)
            gone += [int(one.subject.partition(".")[2]) for one in found]
            outbox.delivered([one.id for one in found])
    assert sorted(gone) == [*range(1000, 1200), *range(2000, 2200)]
    for start in (1000, 2000):
        own = [n for n in gone if start <= n < start + 1000]
        assert own == sorted(own)


def test_a_full_outbox_drops_its_oldest_and_counts_the_events_among_them(file: Path) -> None:
    with closing(Outbox.open(file, MINE)) as outbox:
        outbox.append([message(n, size=4000, is_event=n % 2 == 0) for n in range(500)])
        assert outbox.trim(1.0, max_age_s=1e9, max_bytes=1 << 30) == 0
        dropped = outbox.trim(1.0, max_age_s=1e9, max_bytes=1_000_000)
        left = numbers(outbox)
        assert left == list(range(500 - len(left), 500))
        assert dropped == (500 - len(left) + 1) // 2
        assert 800_000 < outbox.contents().bytes <= 1_000_000


def test_age_is_the_time_in_which_a_service_ran(file: Path) -> None:
    with closing(Outbox.open(file, MINE)) as outbox:
        outbox.trim(0.0, 100, 1 << 30)
        outbox.append([message(1)])
        assert outbox.trim(60.0, 100, 1 << 30) == 0
    # Whatever the clock says meanwhile: no service ran.
    with closing(Outbox.open(file, MINE)) as outbox:
        outbox.append([message(2)])
        assert outbox.trim(60.0, 100, 1 << 30) == 0  # the first is at most 120 s old and at least 60
        assert outbox.contents().oldest_s <= 120
        assert outbox.trim(60.0, 100, 1 << 30) == 1
        assert numbers(outbox) == [2]
        outbox.append([message(3)])
        assert outbox.trim(60.0, 100, 1 << 30) == 1
        assert numbers(outbox) == [3]


def test_a_damaged_file_is_set_aside_and_not_thrown_away(file: Path) -> None:
    assert set_aside(file) is None
    with closing(Outbox.open(file, MINE)) as outbox:
        outbox.append([message(n, size=4000) for n in range(50)])
    assert set_aside(file) is None
    damaged = bytearray(file.read_bytes())
    damaged[4096:8192] = bytes(4096)
    for n in (1, 2):
        file.write_bytes(damaged if n == 1 else b"not a database at all" * 100)
        aside = set_aside(file)
        assert aside == file.with_name(f"{FILE}.damaged-{n}")
        assert aside.is_file()
        assert not file.exists()
    with closing(Outbox.open(file, MINE)) as outbox:
        assert numbers(outbox) == []


def test_an_outbox_that_cannot_be_used_says_so(tmp_path: Path, file: Path) -> None:
    with pytest.raises(OutboxError, match=r"outbox: cannot use .*; set `state_dir` to a folder on a local disk"):
        Outbox.open(tmp_path / "missing" / FILE, MINE)
    with closing(Outbox.open(file, MINE)) as outbox:
        outbox._database.execute("PRAGMA user_version = 99")
    with pytest.raises(OutboxError, match="written by a newer Vigil"):
        Outbox.open(file, MINE)
