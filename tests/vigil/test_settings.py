"""Changes made while the service runs lie over the config file, and last when they are to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from publish.admin import RefusedError
from vigil.changes import Changes
from vigil.config import VigilConfig
from vigil.document import ConfigError
from vigil.settings import Settings, changes_file, patched

CONFIG = """
streams:
  gate: {url: "rtsp://u:${PASSWORD}@cam/1", fps: 10, tracker: {kind: bytetrack}}
  yard: {url: "rtsp://cam/2"}
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PASSWORD", "s3cr3t")
    file = tmp_path / "vigil.yaml"
    file.write_text(CONFIG)
    return Settings.read(file)


@pytest.mark.parametrize("keep", [True, False])
def test_a_changed_stream_keeps_its_variables_and_tells_no_secret(settings: Settings, keep: bool) -> None:
    changed = settings.with_stream("gate", patched(settings.written("gate"), {"fps": 2}), keep)
    assert changed.config().streams["gate"].fps == 2
    assert changed.config().streams["gate"].url == "rtsp://u:s3cr3t@cam/1"
    changed.save()
    file = changes_file(settings.file)
    assert file.exists() == keep
    assert not keep or "s3cr3t" not in file.read_text()


def test_a_stream_that_was_removed_and_added_again_has_nothing_of_the_old_one(settings: Settings) -> None:
    changed = settings.with_stream("gate", None, True)
    assert list(changed.config().streams) == ["yard"]
    back = changed.with_stream("gate", {"url": "rtsp://cam/3"}, True)
    assert back.config().streams["gate"].fps is None
    assert back.overridden() == ["gate"]


def test_what_is_kept_is_there_after_a_restart_and_for_its_owner_only(settings: Settings) -> None:
    settings.with_stream("lobby", {"url": "rtsp://v:pw@cam/3"}, True).save()
    assert changes_file(settings.file).stat().st_mode & 0o777 == 0o600
    assert list(Settings.read(settings.file).config().streams) == ["gate", "yard", "lobby"]


def test_a_passing_change_outlives_an_edit_of_the_file_and_not_the_service(settings: Settings) -> None:
    changed = settings.with_stream("lobby", {"url": "rtsp://cam/3"}, False)
    settings.file.write_text(CONFIG.replace("fps: 10", "fps: 5"))
    again = changed.reread().config()
    assert (list(again.streams), again.streams["gate"].fps) == (["gate", "yard", "lobby"], 5)
    assert list(Settings.read(settings.file).config().streams) == ["gate", "yard"]


def test_a_problem_in_a_change_has_no_line_of_the_config(settings: Settings) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.with_stream("lobby", {"url": "gopher://cam"}, True).config()
    (problem,) = caught.value.problems
    assert (problem.path, problem.line, problem.value) == ("streams.lobby.url", None, "'gopher://cam'")


@pytest.mark.parametrize("text", ["- a", "gate: 5", "{"])
def test_a_broken_file_of_changes_is_told_of(settings: Settings, text: str) -> None:
    changes_file(settings.file).write_text(text)
    with pytest.raises(ConfigError) as caught:
        Settings.read(settings.file)
    assert str(changes_file(settings.file)) in str(caught.value)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    # RFC 7396, appendix A, without arrays of objects
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_are_json_merge_patches(target: Any, patch: Any, result: Any) -> None:
    assert patched(target, patch) == result


class Served:
    """A service that follows a config, or cannot."""

    def __init__(self, config: VigilConfig) -> None:
        self.config = config

    def stream_list(self) -> list[dict[str, Any]]:
        return [{"id": name, "state": "live"} for name in self.config.streams]

    async def apply(self, config: VigilConfig) -> None:
        self.config = config


def test_what_is_shown_has_no_credentials(settings: Settings) -> None:
    changes = Changes(Served(settings.config()), settings)
    assert changes.stream("gate")["settings"] == {
        "url": "rtsp://u:***@cam/1", "fps": 10.0, "tracker": {"kind": "bytetrack"}
    }  # fmt: skip


def test_what_is_shown_of_a_stream_can_be_sent_back(settings: Settings) -> None:
    changes = Changes(Served(settings.config()), settings)
    line = {"from": [0.5, 0.1], "to": [0.5, 0.9]}
    asyncio.run(changes.change("gate", {"lines": {"exit": line}}, True))
    shown = changes.stream("gate")["settings"]["lines"]
    assert shown == {"exit": line}
    asyncio.run(changes.change("gate", {"lines": {"exit": None, "door": shown["exit"]}}, True))
    assert changes.stream("gate")["settings"]["lines"] == {"door": line}


def test_a_refused_change_changes_nothing(settings: Settings) -> None:
    served = Served(settings.config())
    changes = Changes(served, settings)
    with pytest.raises(RefusedError) as caught:
        asyncio.run(changes.change("gate", {"fps": -1}, True))
    assert (caught.value.code, caught.value.problems[0].path) == ("config.invalid", "streams.gate.fps")
    assert served.config.streams["gate"].fps == 10
    assert not changes_file(settings.file).exists()


def test_a_change_that_cannot_be_kept_is_none(settings: Settings) -> None:
    served = Served(settings.config())
    changes_file(settings.file).mkdir()  # where the file would be
    with pytest.raises(RefusedError) as caught:
        asyncio.run(Changes(served, settings).change("gate", {"fps": 2}, True))
    assert caught.value.code == "config.unwritable" and changes_file(settings.file).name in str(caught.value)
    assert served.config.streams["gate"].fps == 10


def test_variables_are_not_filled_in_from_outside(settings: Settings) -> None:
    changes = Changes(Served(settings.config()), settings)
    for source in ("rtsp://u:${PASSWORD}@cam/3", "${file:/etc/hostname}"):
        with pytest.raises(RefusedError) as caught:
            asyncio.run(changes.add("lobby", {"url": source}, True))
        assert caught.value.problems[0].code == "config.variable"


def test_without_a_config_file_nothing_can_be_changed(settings: Settings) -> None:
    with pytest.raises(RefusedError) as caught:
        asyncio.run(Changes(Served(settings.config()), None).remove("gate", True))
    assert caught.value.code == "streams.fixed"


@pytest.mark.parametrize("keep", [True, False])
def test_a_paused_stream_follows_the_config_in_all_else(settings: Settings, keep: bool) -> None:
    paused = settings.with_pause("gate", True, keep)
    assert (paused.config().streams["gate"].paused, paused.config().streams["gate"].fps) == (True, 10)
    assert paused.overridden() == []
    paused.save()
    assert "s3cr3t" not in (changes_file(settings.file).read_text() if keep else "")
    settings.file.write_text(CONFIG.replace("fps: 10", "fps: 5"))
    edited = paused.reread()
    assert (edited.config().streams["gate"].paused, edited.config().streams["gate"].fps) == (True, 5)
    assert Settings.read(settings.file).config().streams["gate"].paused is keep
    on = edited.with_pause("gate", False, keep)
    assert (on.kept, on.passing) == ({}, {})
    settings.file.write_text(CONFIG.replace("  gate:", "  door:"))
    assert list(paused.reread().config().streams) == ["door", "yard"], "a pause of nothing is nothing"


def test_a_pause_and_a_change_of_a_stream_do_not_undo_each_other(settings: Settings) -> None:
    changed = settings.with_stream("gate", {"url": "rtsp://cam/3", "fps": 2}, True).with_pause("gate", True, True)
    assert changed.kept == {"gate": {"url": "rtsp://cam/3", "fps": 2, "paused": True}}
    for_now = changed.with_pause("gate", False, False)
    assert (for_now.config().streams["gate"].paused, for_now.config().streams["gate"].fps) == (False, 2)
    assert for_now.kept == changed.kept
    assert for_now.with_pause("gate", False, True).kept == {"gate": {"url": "rtsp://cam/3", "fps": 2}}
    passing = settings.with_stream("gate", {"url": "rtsp://cam/3"}, False).with_pause("gate", True, True)
    assert passing.config().streams["gate"].paused
    assert Settings(passing.file, passing.text, passing.kept).config().streams["gate"].paused
    later = settings.with_pause("gate", True, True)
    merged = later.with_stream("gate", patched(later.written("gate"), {"fps": 3}), True).config().streams["gate"]
    assert (merged.paused, merged.fps) == (True, 3)


def test_what_the_config_itself_pauses_can_be_taken_up(settings: Settings) -> None:
    settings.file.write_text(CONFIG.replace('{url: "rtsp://cam/2"}', '{url: "rtsp://cam/2", paused: true}'))
    on = Settings.read(settings.file).with_pause("yard", False, True)
    assert not on.config().streams["yard"].paused
    assert on.with_pause("yard", True, True).kept == {}
