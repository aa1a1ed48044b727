"""Damaged streams end with a reason; they do not crash the process that reads them, hang it, or leak."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fuzz import fuzz
from benchmarks.fuzz_streams import FORMATS, FRAMES, SIZES, damaged, healthy, nal_units
from ingest.config import SourceConfig
from ingest.sources import open_source

STREAMS = 204
# Of a process that reads a hundred streams: what allocators keep is less.
GROWTH_MB = 30


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    folder = tmp_path_factory.mktemp("healthy")
    return {name: (healthy(name, SIZES[0], folder), healthy(name, SIZES[1], folder)) for name in FORMATS}


def test_healthy_streams_are_read_whole(streams: dict[str, tuple[bytes, bytes]], tmp_path: Path) -> None:
    for name, (content, _) in streams.items():
        path = tmp_path / name
        path.write_bytes(content)
        with open_source(SourceConfig(url=str(path), pace="fast")) as source:
            assert [(image.width, image.height) for image in source.frames()] == [SIZES[0]] * FRAMES, name


def test_a_seed_always_gives_the_same_damage(streams: dict[str, tuple[bytes, bytes]]) -> None:
    for seed in range(60):
        name, damage, content = damaged(seed, streams)
        assert damaged(seed, streams) == (name, damage, content)
        assert content != streams[name][0] or damage in ("units_mixed", "parameters_swapped", "h265_parameters_swapped")


def test_nal_units_together_are_the_stream(streams: dict[str, tuple[bytes, bytes]]) -> None:
    content = streams["h264.h264"][0]
    assert len(nal_units(content)) > FRAMES
    assert b"".join(nal_units(content)) == content


def test_damaged_streams_crash_hang_and_leak_nothing() -> None:
    report = fuzz(first=20_000, streams=STREAMS, processes=2)
    assert (report.crashed, report.hung, report.unexpected) == ({}, [], {})
    assert report.streams == STREAMS
    assert report.frames > STREAMS  # most damage leaves something to see
    assert all(course[-1][1] - course[20][1] < GROWTH_MB for course in report.memory_mb.values())
