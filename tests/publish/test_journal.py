"""Messages reach the outbox beside the loop; while it takes none they wait in memory, in order and bounded."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from publish import journal as journals
from publish.journal import Journal
from publish.metrics import OutboxMetrics
from publish.outbox import FILE, Durable, Outbox
from publish.trouble import Trouble

WAIT_S = 10.0


def message(number: int, is_event: bool = True) -> Durable:
    return Durable(f"s.{number}", {}, bytes(2000), is_event)


@contextmanager
def running(
    outbox: Outbox, registry: CollectorRegistry, fails: Callable[[Trouble | None], object] = lambda trouble: None
) -> Iterator[tuple[Journal, threading.Event]]:
    written = threading.Event()
    journal = Journal(outbox, OutboxMetrics(registry), written.set, fails)
    thread = threading.Thread(target=journal.run)
    thread.start()
    yield journal, written
    journal.close(WAIT_S)
    thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with closing(Outbox.open(tmp_path / FILE, 1)) as outbox:
        yield outbox


def subjects(outbox: Outbox) -> list[str]:
    return [one.subject for one in outbox.after(0, 1 << 20)]


def test_messages_are_on_disk_soon_and_in_order_and_that_is_told(outbox: Outbox) -> None:
    with running(outbox, CollectorRegistry()) as (journal, written):
        for n in range(300):
            journal.add(message(n))
        assert written.wait(WAIT_S)
        assert journal.flush(WAIT_S)
        assert subjects(outbox) == [f"s.{n}" for n in range(300)]
        assert journal.waiting == 0


def test_closing_writes_what_waits(outbox: Outbox) -> None:
    with running(outbox, CollectorRegistry()) as (journal, _):
        for n in range(100):
            journal.add(message(n))
        assert journal.close(WAIT_S) == 0
        assert len(subjects(outbox)) == 100


def fill(outbox: Outbox) -> None:
    """As a full disk: no page more."""
    (pages,) = outbox._database.execute("PRAGMA page_count").fetchone()
    outbox._database.execute(f"PRAGMA max_page_count = {pages}")


def test_while_the_disk_is_full_messages_wait_and_it_is_told_once(outbox: Outbox) -> None:
    registry = CollectorRegistry()
    told: list[Trouble | None] = []
    outbox.append([message(0)])
    fill(outbox)
    with running(outbox, registry, told.append) as (journal, _):
        for n in range(1, 50):
            journal.add(message(n))
        assert not journal.flush(1.5)
        assert journal.waiting == 49
        assert registry.get_sample_value("vigil_outbox_failing") == 1
        outbox._database.execute("PRAGMA max_page_count = 1000000")
        assert journal.flush(WAIT_S)
        assert subjects(outbox) == [f"s.{n}" for n in range(50)]
        assert registry.get_sample_value("vigil_outbox_failing") == 0
    trouble, over = told
    assert trouble is not None
    assert trouble.code == "outbox.disk_full"
    assert trouble.mend == "make room on the disk of `state_dir`"
    assert over is None


def test_what_waits_in_memory_is_bounded_and_the_oldest_goes_counted(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = CollectorRegistry()
    monkeypatch.setattr(journals, "MOST_WAITING", 20)
    fill(outbox)
    with running(outbox, registry) as (journal, _):
        for n in range(100):
            journal.add(message(n, is_event=n % 2 == 0))
        assert journal.waiting == 20
        outbox._database.execute("PRAGMA max_page_count = 1000000")
        assert journal.flush(WAIT_S)
        kept = [int(one.partition(".")[2]) for one in subjects(outbox)]
        assert len(kept) == 20
        assert kept[-1] == 99
        assert kept == sorted(kept)
        lost_events = 50 - sum(n % 2 == 0 for n in kept)
        dropped = registry.get_sample_value("vigil_events_dropped_total", {"reason": "outbox_failing"})
        assert dropped == lost_events


def test_another_writer_is_waited_for(outbox: Outbox, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with running(outbox, CollectorRegistry()) as (journal, written):
            journal.add(message(1))
            assert not written.wait(0.2)
            other.execute("COMMIT")
            assert written.wait(WAIT_S)
