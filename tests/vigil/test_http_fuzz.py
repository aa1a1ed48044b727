"""The HTTP API of a service, asked by schemathesis what its OpenAPI document allows, and what it does not.

The service is whole but for its processes: settings are really read, refused and written.
"""

from __future__ import annotations

from typing import Any

import pytest

from publish.api.probe import Probed
from publish.http import create_app
from vigil.board import StreamView
from vigil.config import VigilConfig
from vigil.service import Service
from vigil.settings import Settings

CONFIG = """
site: fuzz
http: {requests_per_second: 100000}
streams:
  gate: {url: "rtsp://viewer:hunter2@127.0.0.1:9/x", zones: {drive: {polygon: [[0, 0], [1, 0], [1, 1]]}}}
"""


class Quiet(Service):
    """Starts no processes."""

    async def apply(self, config: VigilConfig) -> None:
        self.refuse_fixed(config)
        self.config = config
        for name in self.streams.keys() - config.streams.keys():
            del self.streams[name]
        for name in config.streams.keys() - self.streams.keys():
            self.streams[name] = StreamView()

    async def probe(self, settings: dict[str, Any], stream: str | None) -> Probed:
        self.changes.tried(settings, stream)
        return Probed(ok=False, seconds=0.1, code="refused", detail="nobody there", mend="turn it on")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("fuzz")
    file = folder / "vigil.yaml"
    file.write_text(CONFIG + f"state_dir: {folder / 'state'}\n")
    kept = Settings.read(file)
    service = Quiet(kept.config(), kept)
    service.streams["gate"] = StreamView("live", {"session": 1})
    return create_app(service, service.config.http)


def test_it_answers_as_it_says_and_nothing_makes_it_fail(app: Any) -> None:
    from tests.vigil.fuzz import EXAMPLES, fuzz

    assert fuzz(app) > EXAMPLES * 30
