"""One keeper for what many workers write: it takes it to the store, hands it out, and removes what has to go."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from publish.media import keeper as keeping
from publish.media.config import MediaConfig
from publish.media.folder import MediaFolder, MediaWriteError
from publish.media.keeper import Keeper
from publish.media.metrics import KeepingMetrics
from publish.media.retention import Stored
from publish.media.stores import STORES, MissingError, Site, StoreError
from publish.media.stores.folder import ABANDONED_S, found
from publish.media_api import add_media_api
from publish.metrics import MergedMetrics

GONE = "gate/2026-11-21/gone.jpg"
KEY, OTHER, CLIP = "gate/2026-11-21/a.jpg", "gate/2026-11-21/b.jpg", "yard/2026-11-20/c.mp4"


class Cupboard:
    """A store in memory, which can be away."""

    shelf: dict[str, bytes]
    away: bool

    def __init__(self, config: MediaConfig, site: Site) -> None:
        self.shelf, self.away = {}, False

    async def put(self, key: str, file: Path, content_type: str) -> None:
        self._open()
        if key == GONE:
            file.unlink()
        assert content_type == {"jpg": "image/jpeg", "mp4": "video/mp4"}[key[-3:]]
        self.shelf[key] = file.read_bytes()

    async def get(self, key: str) -> bytes:
        self._open()
        if key not in self.shelf:
            raise MissingError(f"there is no {key}")
        return self.shelf[key]

    async def url(self, key: str) -> str | None:
        return "https://elsewhere.example/signed" if key == CLIP and await self.get(key) else None

    async def delete(self, key: str) -> None:
        self._open()
        self.shelf.pop(key, None)

    async def list(self) -> list[Stored]:
        self._open()
        return [Stored(key, len(data), time.time()) for key, data in self.shelf.items()]

    async def close(self) -> None:
        pass

    def _open(self) -> None:
        if self.away:
            raise StoreError("media.store_away", "the cupboard is locked")


class House:
    """A keeper at work, over a folder; `nats` stands for any store elsewhere."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.registry = CollectorRegistry()
        self.keeper = Keeper(MediaConfig(**settings), Site(folder, lambda: None), KeepingMetrics(self.registry))
        self.writer = MediaFolder(folder, 0)
        app = FastAPI()
        self.media, self.metrics = self.keeper, MergedMetrics()
        add_media_api(app, self)
        self.http = TestClient(app, follow_redirects=False)

    @property
    def cupboard(self) -> Cupboard:
        assert isinstance(self.keeper.store, Cupboard)
        return self.keeper.store

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LOOK_S", 0.01)
    monkeypatch.setattr(keeping, "SWEEP_S", 0.01)
    monkeypatch.setattr(keeping, "SWEEP_TIMES", 0.0)
    monkeypatch.setattr(keeping, "RETRY_S", (0.01,))
    monkeypatch.setitem(STORES, "nats", f"{__name__}:Cupboard")


def at_work(house: House, scene: Callable[[], Awaitable[None]]) -> None:
    async def play() -> None:
        task = asyncio.create_task(house.keeper.run())
        try:
            async with asyncio.timeout(20):
                await scene()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(play())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def aged(folder: Path, key: str, age_s: float) -> None:
    then = time.time() - age_s
    os.utime(folder / key, (then, then))


def test_old_files_go_and_then_the_oldest_of_too_much(tmp_path: Path) -> None:
    house = House(tmp_path, max_age=3600, max_bytes=1 << 20)
    for number in range(4):
        house.writer.write(f"gate/2026-11-21/{number}.jpg", bytes(400 << 10))
        aged(tmp_path, f"gate/2026-11-21/{number}.jpg", 100 - number)
    house.writer.write(OTHER, b"old")
    aged(tmp_path, OTHER, 3700)

    async def scene() -> None:
        await until(lambda: house.keeper.told()["files"] == 2)
        assert house.files() == {"gate/2026-11-21/2.jpg", "gate/2026-11-21/3.jpg"}
        assert house.counted("vigil_media_removed_total", reason="age") == 1
        assert house.counted("vigil_media_removed_total", reason="size") == 2
        assert house.counted("vigil_media_stored_bytes") == 800 << 10

    at_work(house, scene)


def test_what_is_written_goes_to_the_store_and_leaves_the_disk(tmp_path: Path) -> None:
    house = House(tmp_path, store="nats")
    house.writer.write(KEY, b"picture")
    assert house.http.get(f"/api/v1/media/{KEY}").content == b"picture"  # from the disk, before the store has it

    async def scene() -> None:
        await until(lambda: house.cupboard.shelf == {KEY: b"picture"} and not house.files())

    at_work(house, scene)
    assert house.http.get(f"/api/v1/media/{KEY}").content == b"picture"
    assert house.counted("vigil_media_uploads_total", outcome="stored") == 1


def test_a_store_that_is_away_is_told_and_gets_everything_when_it_is_back(tmp_path: Path) -> None:
    house = House(tmp_path, store="nats")
    house.cupboard.away = True
    house.writer.write(KEY, b"picture")

    async def scene() -> None:
        await until(lambda: house.counted("vigil_media_uploads_total", outcome="failed") > 1)
        assert house.keeper.failure == ("media.store_away", "the cupboard is locked")
        assert house.counted("vigil_media_store_failing") == 1
        assert house.counted("vigil_media_backlog_bytes") == 7
        told = house.http.get("/api/v1/media").json()
        assert (told["failure"]["code"], told["workers_failing"]) == ("media.store_away", 0)
        assert house.http.get(f"/api/v1/media/{OTHER}").json()["code"] == "media.store_away"
        house.cupboard.away = False
        await until(lambda: house.cupboard.shelf and house.keeper.failure is None)
        assert house.counted("vigil_media_store_failing") == 0

    at_work(house, scene)


def test_a_file_that_somebody_takes_away_holds_up_no_other(tmp_path: Path) -> None:
    house = House(tmp_path, store="nats")
    house.writer.write(GONE, b"x")
    aged(tmp_path, GONE, 100)
    house.writer.write(KEY, b"picture")

    async def scene() -> None:
        await until(lambda: house.cupboard.shelf == {KEY: b"picture"})
        assert house.keeper.failure is None

    at_work(house, scene)


def test_a_folder_that_cannot_be_read_is_told_and_not_the_end(tmp_path: Path) -> None:
    house = House(tmp_path / "media", store="nats")
    (tmp_path / "media").symlink_to(tmp_path / "media")

    async def scene() -> None:
        await until(lambda: house.keeper.failure is not None)
        assert house.keeper.failure is not None and house.keeper.failure[0] == "media.not_writable"
        (tmp_path / "media").unlink()
        house.writer.write(KEY, b"picture")
        await until(lambda: house.cupboard.shelf == {KEY: b"picture"} and house.keeper.failure is None)

    at_work(house, scene)


def test_only_so_much_waits_for_a_store_that_is_away(tmp_path: Path) -> None:
    house = House(tmp_path, store="nats", backlog=1 << 20)
    house.cupboard.away = True
    for number in range(5):
        house.writer.write(f"gate/2026-11-21/{number}.jpg", bytes(300 << 10))
        aged(tmp_path, f"gate/2026-11-21/{number}.jpg", 100 - number)

    async def scene() -> None:
        await until(lambda: house.counted("vigil_media_uploads_total", outcome="given_up") == 2)
        assert house.files() == {f"gate/2026-11-21/{number}.jpg" for number in (2, 3, 4)}

    at_work(house, scene)


def test_pictures_are_served_by_key_whole_and_in_ranges(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.writer.write(CLIP, bytes(range(100)))
    whole = house.http.get(f"/api/v1/media/{CLIP}")
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    assert "private" in whole.headers["cache-control"]
    part = house.http.get(f"/api/v1/media/{CLIP}", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))


def test_what_the_store_hands_out_itself_is_redirected_to(tmp_path: Path) -> None:
    house = House(tmp_path, store="nats")
    house.cupboard.shelf[CLIP] = b"video"
    answer = house.http.get(f"/api/v1/media/{CLIP}")
    assert (answer.status_code, answer.headers["location"]) == (307, "https://elsewhere.example/signed")


@pytest.mark.parametrize("path", [
    KEY, "../secret.jpg", "%2e%2e/secret.jpg", "gate/2026-11-21/..%2f..%2f..%2fsecret.jpg", "gate/2026-11-21/.1-0.part",
    "%2Fetc%2Fpasswd", "gate%00/2026-11-21/a.jpg",
])  # fmt: skip
def test_nothing_else_is_served(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    folder = tmp_path / "media"
    house = House(folder)
    (folder / "gate/2026-11-21").mkdir(parents=True)
    (folder / "gate/2026-11-21/.1-0.part").write_bytes(b"secret")
    answer = house.http.get(f"/api/v1/media/{path}")
    assert answer.status_code == 404
    assert answer.content != b"secret"


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    house = House(tmp_path / "media")
    (house.folder / "gate/2026-11-21").mkdir(parents=True)
    (house.folder / KEY).symlink_to(tmp_path / "secret.jpg")
    assert house.keeper.here(KEY) is None
    assert found(house.folder) == []


WRITER = """
import sys
from pathlib import Path
from publish.media.folder import MediaFolder

def half(file):
    with file.open("wb") as out:
        out.write(b"half")
        out.flush()
        print("writing", flush=True)
        sys.stdin.read()

MediaFolder(Path(sys.argv[1]), 0).fill(sys.argv[2], half)
"""


def test_a_killed_worker_leaves_no_half_file_that_is_served(tmp_path: Path) -> None:
    house = House(tmp_path)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), KEY], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)  # fmt: skip
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    (part,) = house.files()
    assert house.http.get(f"/api/v1/media/{KEY}").status_code == 404
    assert house.http.get(f"/api/v1/media/{part}").status_code == 404
    assert found(tmp_path) == [] and house.files() == {part}  # it might still be written to
    aged(tmp_path, part, ABANDONED_S + 1)
    assert found(tmp_path) == [] and house.files() == set()


def test_empty_days_go_and_others_stay(tmp_path: Path) -> None:
    for day in ("2026-11-01", "2026-11-21"):
        (tmp_path / "gate" / day).mkdir(parents=True)
    aged(tmp_path, "gate/2026-11-01", 10 * 86400)
    assert found(tmp_path) == []
    assert [path.name for path in (tmp_path / "gate").iterdir()] == ["2026-11-21"]


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = MediaFolder(tmp_path, 0)

    def breaks(file: Path) -> None:
        file.write_bytes(b"half")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        folder.fill(KEY, breaks)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("a file")
    with pytest.raises(MediaWriteError) as caught:
        MediaFolder(tmp_path / "media", 0).write(KEY, b"")
    assert caught.value.code == "media.not_writable" and str(tmp_path / "media") in str(caught.value)
