"""What every store does: one conformance suite, over a folder, a real NATS server and a server that speaks S3."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import nats
import pytest

from publish.media.config import MediaConfig
from publish.media.stores import MediaStore, MissingError, Site, StoreError, new_store
from vigil.nats_server import NatsServer

KEY, OTHER, CLIP = "gate/2026-11-21/a.jpg", "gate/2026-11-21/b.jpg", "yard/2026-11-20/c.mp4"
SECRET = "hunter2-Zq"
LOGIN = {"access_key": "AKIDEXAMPLE", "secret_key": SECRET}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of moto's S3 server, with a bucket `vigil`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    ends = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
            break
        except OSError:
            assert server.poll() is None and time.monotonic() < ends, "moto's server does not answer"
            time.sleep(0.05)
    client(url).create_bucket(Bucket="vigil")
    yield url
    server.kill()
    server.wait()


def client(url: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )


def s3_config(url: str, **settings: Any) -> MediaConfig:
    return MediaConfig.model_validate({
        "store": "s3", "s3": {"bucket": "vigil", "endpoint_url": url, "region": "us-east-1", **LOGIN, **settings},
    })  # fmt: skip


Scene = Callable[[MediaStore], Awaitable[None]]


@pytest.fixture(params=["folder", "nats", "s3"])
def with_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scene], None]:
    """Plays a scene with an empty store."""
    kind = request.param
    url = request.getfixturevalue("s3") if kind == "s3" else ""

    @asynccontextmanager
    async def opened() -> AsyncIterator[MediaStore]:
        if kind != "nats":
            config = s3_config(url, prefix="cams/") if url else MediaConfig()
            yield new_store(config, Site(tmp_path / "kept", lambda: None))
            for one in client(url).list_objects_v2(Bucket="vigil").get("Contents", ()) if url else ():
                client(url).delete_object(Bucket="vigil", Key=one["Key"])
            return
        server = NatsServer(tmp_path / "nats", 0)
        await server.start()
        connected = await nats.connect(server.url)
        yield new_store(MediaConfig(store="nats"), Site(tmp_path / "kept", lambda: connected))
        await connected.close()
        await server.stop()

    def play(scene: Scene) -> None:
        async def whole() -> None:
            async with asyncio.timeout(60), opened() as store:
                await scene(store)
                await store.close()

        asyncio.run(whole())

    return play


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 2000)  # several of NATS' chunks
    return path


def test_what_is_put_is_got_listed_and_deleted(with_store: Callable[[Scene], None], file: Path) -> None:
    async def scene(store: MediaStore) -> None:
        assert await store.list() == []
        await store.put(KEY, file, "image/jpeg")
        await store.put(CLIP, file, "video/mp4")
        assert await store.get(KEY) == file.read_bytes()
        listed = {one.key: one for one in await store.list()}
        assert set(listed) == {KEY, CLIP}
        assert listed[CLIP].bytes == file.stat().st_size
        assert abs(listed[CLIP].at_s - time.time()) < 60
        await store.delete(KEY)
        await store.delete(KEY)
        assert [one.key for one in await store.list()] == [CLIP]

    with_store(scene)


def test_what_is_not_there_is_missing(with_store: Callable[[Scene], None], file: Path) -> None:
    async def scene(store: MediaStore) -> None:
        await store.put(KEY, file, "image/jpeg")
        for ask in (store.get, store.url):
            with pytest.raises(MissingError):
                await ask(OTHER)
        await store.delete(KEY)
        with pytest.raises(MissingError):
            await store.get(KEY)

    with_store(scene)


def test_putting_again_replaces(with_store: Callable[[Scene], None], file: Path) -> None:
    async def scene(store: MediaStore) -> None:
        await store.put(KEY, file, "image/jpeg")
        file.write_bytes(b"other")
        await store.put(KEY, file, "image/jpeg")
        assert await store.get(KEY) == b"other"
        (listed,) = await store.list()
        assert listed.bytes == 5

    with_store(scene)


def test_s3_hands_out_links_that_anyone_can_follow(s3: str, file: Path) -> None:
    async def scene() -> None:
        store = new_store(s3_config(s3, prefix="cams/"), Site(file.parent, lambda: None))
        await store.put(KEY, file, "image/jpeg")
        url = await store.url(KEY)
        assert url is not None and SECRET not in url and "X-Amz-Expires=3600" in url
        answer = await asyncio.to_thread(urllib.request.urlopen, url, timeout=10)
        assert (answer.read(), answer.headers["content-type"]) == (file.read_bytes(), "image/jpeg")
        await store.close()

    asyncio.run(scene())


def test_what_others_keep_in_the_bucket_is_none_of_ours(s3: str, file: Path) -> None:
    client(s3).put_object(Bucket="vigil", Key="cams/backup.tar", Body=b"x")

    async def scene() -> None:
        store = new_store(s3_config(s3, prefix="cams/"), Site(file.parent, lambda: None))
        assert all(one.key != "backup.tar" for one in await store.list())
        await store.close()

    asyncio.run(scene())


@pytest.mark.parametrize(("settings", "code", "words"), [
    ({"bucket": "nowhere"}, "media.store_missing", "nowhere"),
    ({"endpoint_url": "http://127.0.0.1:9"}, "media.store_away", "127.0.0.1:9"),
])  # fmt: skip
def test_s3s_refusals_are_named(s3: str, file: Path, settings: dict[str, Any], code: str, words: str) -> None:
    async def scene() -> None:
        store = new_store(s3_config(**{"url": s3, **settings}), Site(file.parent, lambda: None))
        with pytest.raises(StoreError) as caught:
            await store.put(KEY, file, "image/jpeg")
        assert caught.value.code == code
        assert words in str(caught.value) and SECRET not in str(caught.value)
        await store.close()

    asyncio.run(scene())


def test_nats_that_is_away_is_named_and_comes_back(tmp_path: Path, file: Path) -> None:
    async def scene() -> None:
        connected: list[nats.aio.client.Client] = []
        store = new_store(MediaConfig(store="nats"), Site(tmp_path, lambda: connected[0] if connected else None))
        with pytest.raises(StoreError, match="not connected") as caught:
            await store.put(KEY, file, "image/jpeg")
        assert caught.value.code == "media.store_away"
        server = NatsServer(tmp_path / "nats", 0)
        await server.start()
        connected.append(await nats.connect(server.url))
        await store.put(KEY, file, "image/jpeg")
        info = await connected[0].jetstream().stream_info("OBJ_VIGIL_MEDIA")
        assert info.config.max_age == MediaConfig().max_age
        await connected[0].close()
        await server.stop()

    asyncio.run(scene())


def test_the_secret_key_is_in_no_dump_of_the_config() -> None:
    config = s3_config("http://127.0.0.1:9")
    assert SECRET not in config.model_dump_json() + repr(config)
    with pytest.raises(ValueError, match="go together"):
        s3_config("http://127.0.0.1:9", secret_key=None)
    assert json.loads(config.model_dump_json())["s3"]["bucket"] == "vigil"
