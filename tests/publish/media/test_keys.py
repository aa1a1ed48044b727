"""What names a picture, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publish.media.keys import MediaKeyError, checked, clip_key, content_type, crop_key, is_key, snapshot_key

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
EVENT = "hq-gate-1795230433127-7-zone.entered-drive-1"


def test_events_keys_are_keys() -> None:
    assert snapshot_key("gate", NOON, EVENT) == f"gate/2026-11-21/{EVENT}.jpg"
    keys = snapshot_key("gate", NOON, EVENT), crop_key("gate", NOON, EVENT), clip_key("gate", NOON, EVENT, "mkv")
    assert len(set(keys)) == 3
    assert [checked(key) for key in keys] == list(keys)
    assert [content_type(key) for key in keys] == ["image/jpeg", "image/jpeg", "video/x-matroska"]


def test_the_longest_event_there_can_be_has_a_key() -> None:
    name = "x" * 64
    event = f"{name}-{name}-1795230433127-99999999-zone.abandoned-{name}-99999"
    for key in (crop_key(name, NOON, event), clip_key(name, NOON, event, "mp4")):
        assert is_key(key) and len(key.rsplit("/")[-1].encode()) <= 255


@pytest.mark.parametrize("text", [
    "", "gate", "../gate/2026-11-21/x.jpg", "gate/../../etc/passwd", "gate/2026-11-21/../../x.jpg", "/etc/passwd",
    "gate/2026-11-21/.1-0.part", "gate/2026-11-21/.x.jpg", "gate/2026-11-21/x.jpg/..", "gate//x.jpg",
    "gate/2026-11-21/x.jpg\n", "gate/2026-11-21/x.py", "gate/2026-11-21/x\0.jpg", "gate\\2026-11-21\\x.jpg",
])  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(MediaKeyError):
        checked(text)


@given(st.text(alphabet="ab./\\-0:%\0\n ", max_size=40))
def test_no_key_leads_elsewhere(text: str) -> None:
    if is_key(text):
        assert not any(part.startswith(".") for part in text.split("/"))
        assert len(text.split("/")) == 3
