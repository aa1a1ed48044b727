"""What the documents show works as shown."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from pydantic import BaseModel

from inference.detections import Detections
from publish.bridges.config import BRIDGE_CONFIGS
from publish.media.keys import is_key
from publish.schema import Counted, CountEvent, Media, TrackEvent
from tracking.config import TrackerConfig
from tracking.trackers import new_tracker
from vigil.config import StreamConfig, VigilConfig
from vigil.load import load, parse

ROOT = Path(__file__).resolve().parents[2]


def blocks(file: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)


def test_the_reference_config_is_valid_and_shows_the_defaults() -> None:
    config = load(ROOT / "configs/vigil.yaml")
    default = VigilConfig(streams={"x": StreamConfig(url="rtsp://x/y")})
    for name in ("detector", "tracker", "identity", "workers", "http", "media", "log"):
        assert getattr(config, name) == getattr(default, name)
    assert config.nats == default.nats.model_copy(update={"port": 4222})


def test_the_reference_config_names_every_setting() -> None:
    text = (ROOT / "configs/vigil.yaml").read_text()

    def settings(model: type[BaseModel]) -> set[str]:
        names = set(model.model_fields)
        for field in model.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                names |= settings(field.annotation)
        return names

    bridges = set[str]().union(*(settings(one) for one in BRIDGE_CONFIGS.values()))
    wanted = settings(VigilConfig) | set(StreamConfig.model_fields) | bridges
    missing = [name for name in wanted if f"{name}:" not in text]
    assert missing == []


def test_the_committed_schema_is_the_codes() -> None:
    committed = json.loads((ROOT / "configs/vigil.schema.json").read_text())
    assert committed == VigilConfig.model_json_schema(), "run `make schema`"


def test_the_readmes_config_is_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATE_USER", "viewer")
    monkeypatch.setenv("GATE_PASSWORD", "x")
    (tmp_path / "lobby.mp4").touch()
    (text,) = blocks("README.md", "yaml")
    assert set(parse(text, "README.md", tmp_path).streams) == {"gate", "yard", "lobby"}
    assert len(yaml.safe_dump(yaml.safe_load(text)).splitlines()) <= 25


def test_the_readmes_event_is_an_event() -> None:
    (text,) = blocks("README.md", "json")
    event = TrackEvent.model_validate_json(text)
    assert set(json.loads(text)) == set(json.loads(event.model_dump_json()))
    assert event.track_uid == "gate/1795230433127/7"


def test_the_documented_rules_are_valid(tmp_path: Path) -> None:
    first, *more = blocks("docs/rules.md", "yaml")
    assert len(more) == 3
    for text in (first, *(first.split("zones:")[0].rstrip() + "\n" + part for part in more)):
        gate = parse(text, "rules.md", tmp_path).streams["gate"]
        assert gate.zones or gate.lines


def test_the_documented_media_are_valid(tmp_path: Path) -> None:
    (text,) = blocks("docs/media.md", "yaml")
    gate = parse(text, "media.md", tmp_path).streams["gate"]
    assert gate.snapshots and gate.clips
    (told,) = blocks("docs/media.md", "json")
    media = Media.model_validate_json(told)
    assert set(json.loads(told)) == set(json.loads(media.model_dump_json()))
    assert all(is_key(key) for key in (media.snapshot, media.crop, media.clip) if key)


def test_the_documented_report_is_one() -> None:
    (text,) = blocks("docs/rules.md", "json")
    told = json.loads(text)
    assert set(told) <= set(CountEvent.model_fields)
    assert [Counted.model_validate(one).count for one in told["counts"]] == [12]


def test_the_documented_tracker_can_be_used_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("docs/architecture.md", "python")
    module = ModuleType("my_trackers")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "my_trackers", module)
    tracker = new_tracker(TrackerConfig(kind="my_trackers:Forgetful"), 25.0)
    boxes = np.array([[0, 0, 10, 10], [5, 5, 20, 20]], np.float32)
    detections = Detections(boxes, np.ones(2, np.float32), np.zeros(2, np.int32))
    assert tracker.update(detections, 0).track_ids.tolist() == [1, 2]
    assert tracker.update(detections, 40_000_000).track_ids.tolist() == [3, 4]


def test_the_readmes_subscriber_compiles() -> None:
    (code,) = blocks("README.md", "python")
    compile(code, "README.md", "exec")
