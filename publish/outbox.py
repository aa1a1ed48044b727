"""What has been promised, on disk: one SQLite file that a site's processes write to, and that one of them sends from.

Every durable message is here from when it is made until JetStream has acknowledged it. SQLite's write-ahead log keeps
what was committed whatever process is killed; `synchronous=NORMAL` leaves it to the file system when it reaches the
disk, as the NATS server does with its own files.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

from ingest.errors import VigilError

FILE = "outbox.db"
BUSY_S = 5.0
VERSION = 1
# A write-ahead log that an outage has grown is cut back to this when it has been emptied.
LOG_BYTES = 16 << 20
# A full outbox is emptied to this part of what it may hold, so that it is not full again at once.
ROOM = 0.95

TABLES = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event INTEGER NOT NULL, subject TEXT NOT NULL, headers TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS unfinished (
    finished_by TEXT PRIMARY KEY, owner INTEGER NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ages (id INTEGER PRIMARY KEY, served_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
"""


class OutboxError(VigilError):
    """The outbox cannot be used where it is."""

    code = "outbox.unavailable"


@dataclass(frozen=True, slots=True)
class Durable:
    """A message that must not be lost, as it will be sent.

    Attributes:
        is_event: an event, not a state.
        begins: id of the event that will end what this one begins; until that is written, it is unfinished.
        renews: id of such an event: what is unfinished is now as this one says.
        ends: what this one ends: its own id.
    """

    subject: str
    headers: dict[str, str]
    body: bytes
    is_event: bool = True
    begins: str | None = None
    renews: str | None = None
    ends: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message in the outbox; ids grow, and are never used twice."""

    id: int
    is_event: bool
    subject: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Contents:
    """What waits: how many messages, the bytes that they take on disk, and for how long the oldest has (seconds in
    which the service ran)."""

    messages: int
    bytes: int
    oldest_s: float


class Outbox:
    """One process's access to the file. Any thread may call; one is served at a time, and none at once."""

    def __init__(self, database: sqlite3.Connection, owner: int) -> None:
        self._database = database
        self._owner = owner
        self._turn = threading.RLock()

    @classmethod
    def open(cls, file: Path, owner: int) -> Self:
        """Opens the file, or makes it; `owner` names this process in what it leaves unfinished.

        Raises:
            OutboxError: it cannot be used.
        """
        mend = "set `state_dir` to a folder on a local disk that can be written"
        try:
            database = sqlite3.connect(file, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            database.execute("PRAGMA synchronous = NORMAL")
            (mode,) = database.execute("PRAGMA journal_mode = WAL").fetchone()
            database.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise OutboxError(f"outbox: {file} was written by a newer Vigil (version {version}); use that one")
            if version < VERSION:
                database.executescript(f"{TABLES} PRAGMA user_version = {VERSION};")
        except sqlite3.Error as error:
            raise OutboxError(f"outbox: cannot use {file}: {error}; {mend}") from None
        if mode != "wal":
            raise OutboxError(f"outbox: {file} is on a file system without shared memory; {mend}")
        return cls(database, owner)

    def close(self) -> None:
        with self._turn:
            self._database.close()

    # -- writing

    def append(self, messages: Sequence[Durable]) -> None:
        """Keeps all of the messages, or none.

        Raises:
            sqlite3.Error: none.
        """
        begun = [(one.begins, self._owner, one.body) for one in messages if one.begins]
        renewed = [(one.body, one.renews) for one in messages if one.renews]
        ended = [(one.ends,) for one in messages if one.ends]
        with self._transaction() as database:
            database.executemany(
                "INSERT INTO messages (event, subject, headers, body) VALUES (?, ?, ?, ?)",
                ((one.is_event, one.subject, json.dumps(one.headers), one.body) for one in messages),
            )
            if begun:
                database.executemany("INSERT OR REPLACE INTO unfinished VALUES (?, ?, ?)", begun)
            if renewed:
                database.executemany("UPDATE unfinished SET body = ? WHERE finished_by = ?", renewed)
            if ended:
                database.executemany("DELETE FROM unfinished WHERE finished_by = ?", ended)

    def unfinished(self, owner: int | None = None) -> list[tuple[str, bytes]]:
        """What a process, or any, has begun and not ended: id of the event that would end it, body of the last one."""
        rows = self._rows(
            "SELECT finished_by, body FROM unfinished WHERE owner = coalesce(?, owner) ORDER BY finished_by", owner
        )
        return [(str(ends), bytes(body)) for ends, body in rows]

    # -- sending

    def after(self, last: int, most: int) -> list[Waiting]:
        """The oldest messages with larger ids, in the order in which they were written."""
        rows = self._rows("SELECT * FROM messages WHERE id > ? ORDER BY id LIMIT ?", last, most)
        return [Waiting(key, bool(event), subject, json.loads(headers), bytes(body))
                for key, event, subject, headers, body in rows]  # fmt: skip

    def delivered(self, ids: Iterable[int], sequence: int | None = None) -> None:
        """Lets go of messages; `sequence` is what `sequence()` says from now on."""
        with self._transaction() as database:
            database.executemany("DELETE FROM messages WHERE id = ?", ((key,) for key in ids))
            if sequence is not None:
                database.execute("INSERT OR REPLACE INTO facts VALUES ('sequence', ?)", (sequence,))

    def sequence(self) -> int | None:
        """The last of the events stream's numbers up to which all of ours are known to have left the outbox."""
        rows = self._rows("SELECT value FROM facts WHERE name = 'sequence'")
        return int(rows[0][0]) if rows else None

    # -- its bounds

    def contents(self) -> Contents:
        with self._turn:
            ((first, last),) = self._rows("SELECT min(id), max(id) FROM messages")
            ((pages,),) = self._rows("PRAGMA page_count")
            ((free,),) = self._rows("PRAGMA freelist_count")
            ((page_bytes,),) = self._rows("PRAGMA page_size")
            if first is None:
                return Contents(0, 0, 0.0)
            since = self._rows("SELECT served_s FROM ages WHERE id <= ? ORDER BY id DESC LIMIT 1", first)
            oldest_s = self._served_s() - since[0][0] if since else 0.0
            return Contents(last - first + 1, (pages - free) * page_bytes, oldest_s)

    def _served_s(self) -> float:
        rows = self._rows("SELECT value FROM facts WHERE name = 'served_s'")
        return float(rows[0][0]) if rows else 0.0

    def subjects(self) -> dict[str, int]:
        """How many messages wait, by subject; the most first."""
        return dict(self._rows("SELECT subject, count(*) FROM messages GROUP BY subject ORDER BY count(*) DESC"))

    def trim(self, passed_s: float, max_age_s: float, max_bytes: int) -> int:
        """Counts the time that has passed, and drops the oldest messages that are too old, or too many.

        Age is the time in which a service ran and could have sent them: no clock can step over it, and a box that was
        switched off for a month still has its events.

        Returns:
            how many events were dropped.
        """
        with self._transaction() as database:
            now_s = self._served_s() + passed_s
            database.execute("INSERT OR REPLACE INTO facts VALUES ('served_s', ?)", (now_s,))
            first, last = database.execute("SELECT min(id), max(id) FROM messages").fetchone()
            if first is None:
                database.execute("DELETE FROM ages")
                return 0
            database.execute("INSERT OR IGNORE INTO ages VALUES (?, ?)", (last + 1, now_s))
            (old,) = database.execute("SELECT max(id) FROM ages WHERE served_s < ?", (now_s - max_age_s,)).fetchone()
            keep = old or first
            held = self.contents()
            if held.bytes > max_bytes:
                over = 1 - ROOM * max_bytes / held.bytes
                keep = max(keep, first + round(over * held.messages) + 1)
            database.execute("DELETE FROM ages WHERE id < (SELECT max(id) FROM ages WHERE id <= ?)", (keep,))
            return database.execute("DELETE FROM messages WHERE id < ? RETURNING event", (keep,)).fetchall().count((1,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Takes the right to write at once, as an upgrade from reading fails without waiting."""
        with self._turn:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # some errors have rolled it back
                    self._database.execute("ROLLBACK")
                raise

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._turn:
            return self._database.execute(statement, values).fetchall()


def set_aside(file: Path) -> Path | None:
    """Moves a damaged outbox out of the way, with what belongs to it; None when it is sound, or not there.

    Raises:
        OutboxError: it cannot be read, or not be moved.
    """
    if not file.exists():
        return None
    try:
        with closing(sqlite3.connect(file, timeout=BUSY_S)) as database:
            if database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
                return None
    except sqlite3.OperationalError as error:
        raise OutboxError(f"outbox: cannot read {file}: {error}") from None
    except sqlite3.DatabaseError:
        pass
    aside = next(name for n in count(1) if not (name := file.with_name(f"{file.name}.damaged-{n}")).exists())
    try:
        for part in ("", "-wal", "-shm"):
            if (beside := file.with_name(file.name + part)).exists():
                beside.rename(aside.with_name(aside.name + part))
    except OSError as error:
        raise OutboxError(f"outbox: {file} is damaged and cannot be moved: {error.strerror}") from None
    return aside
