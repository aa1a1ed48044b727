"""Subjects: one stream's are its own, and the wildcards cover all streams and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publish.config import STREAM_ID, NatsConfig
from publish.subjects import Subjects
from tracking.events import EventType

SUBJECTS = Subjects("vigil.hq")
stream_ids = st.from_regex(re.compile(STREAM_ID), fullmatch=True)


def matches(pattern: str, subject: str) -> bool:
    """NATS' own rule: `*` is one token, `>` is one or more at the end."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, tokens = wanted[:-1], tokens[: len(wanted) - 1] if len(tokens) >= len(wanted) else []
    return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens, strict=True))


def test_subjects_are_those_of_the_design() -> None:
    assert SUBJECTS.frames("gate") == "vigil.hq.frames.gate"
    assert SUBJECTS.event("gate", "track.started") == "vigil.hq.events.gate.track.started"
    assert SUBJECTS.status("gate") == "vigil.hq.status.gate"


@given(stream_ids, st.sampled_from(EventType))
def test_wildcards_cover_every_stream_of_their_kind_only(stream: str, kind: EventType) -> None:
    made = [SUBJECTS.frames(stream), SUBJECTS.event(stream, kind.value), SUBJECTS.status(stream)]
    patterns = [SUBJECTS.all_frames, SUBJECTS.all_events, SUBJECTS.all_status]
    for row, pattern in enumerate(patterns):
        assert [matches(pattern, subject) for subject in made] == [column == row for column in range(3)]


@given(stream_ids)
def test_another_sites_subjects_are_not_covered(stream: str) -> None:
    other = Subjects("vigil.hq2")
    assert not matches(SUBJECTS.all_frames, other.frames(stream))


@pytest.mark.parametrize("prefix", ["a", "vigil.hq", "a-1.b_2.c"])
def test_a_prefix_is_tokens(prefix: str) -> None:
    assert NatsConfig(prefix=prefix).prefix == prefix


@pytest.mark.parametrize("prefix", ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "A", "$SYS", "a\n"])
def test_a_prefix_with_anything_else_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        NatsConfig(prefix=prefix)


@pytest.mark.parametrize("url", ["http://nats:4222", "localhost:4222", "nats://a:1,b:2", ""])
def test_a_nats_url_without_its_scheme_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be `embedded`, or start with nats://"):
        NatsConfig(url=url)
