"""`vigil events` tells what JetStream keeps, and ends when it is to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from publish.config import NatsConfig
from publish.jetstream import ensure, wanted_streams
from tests.publish.messages import event, tell
from tests.publish.servers import serving
from tests.vigil.command import Done, vigil

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A config whose server, which wants a password, keeps six events."""
    folder = tmp_path_factory.mktemp("nats")
    file = folder / "vigil.yaml"
    with serving(folder, 'authorization {user: vigil, password: "s3cr3t"}') as server:
        file.write_text(f"site: hq\nnats: {{url: '{server.url}', user: vigil, password: s3cr3t}}\nstreams: {{}}\n")

        async def fill() -> None:
            client = await nats.connect(server.url, user="vigil", password="s3cr3t")
            await ensure(client.jetstream(), wanted_streams(NatsConfig(), "vigil.hq", "hq")[0])
            await tell(client, *(event(n, "gate" if n % 2 else "yard") for n in range(5)))
            await tell(client, event(5, kind="track.ended", reason="lost"))
            await client.close()

        asyncio.run(fill())
        yield file


def events(config: Path, *arguments: str) -> Done:
    return vigil("events", "-c", str(config), *arguments)


def test_the_past_is_told_as_json_lines_of_those_chosen(config: Path) -> None:
    done = events(config, "--no-follow", "--json", "--stream", "gate", "--type", "track.started")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [1, 3]


def test_a_limit_ends_it_even_when_it_follows(config: Path) -> None:
    done = events(config, "--since", "1h", "--limit", "3")
    assert done.returncode == 0, done.stderr
    assert [line.split()[1:3] for line in done.stdout.splitlines()] == [
        ["yard", "track.started"], ["gate", "track.started"], ["yard", "track.started"]
    ]  # fmt: skip


def test_a_refused_login_is_one_message(config: Path) -> None:
    wrong = config.with_name("wrong.yaml")
    wrong.write_text(config.read_text().replace("s3cr3t", "wr0ng"))
    done = events(wrong)
    assert done.returncode == 1
    assert "[nats.auth]" in done.stderr and "Traceback" not in done.stderr and "wr0ng" not in done.stderr
