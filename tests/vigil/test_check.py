"""`vigil check --probe` asks NATS as the service would, and changes nothing there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nats

from publish.config import NatsConfig
from tests.publish.servers import serving
from vigil.check import NatsProbe, probe_nats
from vigil.config import VigilConfig


def probed(**settings: Any) -> NatsProbe:
    return asyncio.run(probe_nats(VigilConfig(site="hq", nats=NatsConfig(**settings), streams={})))


def test_a_server_that_takes_us_is_fine_and_stays_as_it_is(tmp_path: Path) -> None:
    with serving(tmp_path, "authorization {token: s3cr3t}") as server:
        assert probed(url=server.url, token="s3cr3t") == NatsProbe(True, "connected, and JetStream answers")

        async def streams() -> int:
            client = await nats.connect(server.url, token="s3cr3t")
            found = len(await client.jetstream().streams_info())
            await client.jetstream().add_stream(name="VIGIL_EVENTS", subjects=["x"], max_age=60, duplicate_window=60)
            await client.close()
            return found

        assert asyncio.run(streams()) == 0
        told = probed(url=server.url, token="s3cr3t")
        assert told.ok
        assert [line.split(": ")[1].split(" is ")[0] for line in told.differs] == [
            "max_age", "max_bytes", "duplicate_window"
        ]  # fmt: skip
        refused = probed(url=server.url, token="wr0ng")
        assert (refused.ok, refused.code) == (False, "nats.auth")
        assert "wr0ng" not in str(refused)


def test_a_server_without_jetstream_is_not(tmp_path: Path) -> None:
    with serving(tmp_path, jetstream=False) as server:
        assert probed(url=server.url).code == "nats.no_jetstream"


def test_the_embedded_server_is_asked_for_its_program() -> None:
    told = probed(url="embedded")
    assert told.ok and told.description is not None and "nats-server" in told.description
