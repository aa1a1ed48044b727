"""Streams meet the detector they name, and nothing is started that nobody uses."""

from __future__ import annotations

from typing import Any

from vigil.config import VigilConfig
from vigil.layout import lay_out

CAMERA = "rtsp://10.0.0.1/x"


def config(streams: dict[str, dict[str, Any]], **settings: Any) -> VigilConfig:
    return VigilConfig.model_validate(
        {"streams": {name: {"url": CAMERA, **own} for name, own in streams.items()}, **settings}
    )


def test_one_detector_serves_all_and_workers_share_the_streams() -> None:
    detectors, shards = lay_out(config({f"s{n}": {} for n in range(5)}, workers={"streams_per_worker": 2}))
    assert [place.name for place in detectors] == ["detector"]
    assert [shard.streams for shard in shards] == [["s0", "s1"], ["s2", "s3"], ["s4"]]
    assert [shard.name for shard in shards] == ["worker-0", "worker-1", "worker-2"]
    assert {shard.detector.name for shard in shards} == {"detector"}


def test_a_worker_holds_streams_of_one_detector_only() -> None:
    detectors, shards = lay_out(config(
        {"gate": {}, "road": {"detector": "cars"}, "yard": {}},
        detector={"model": "a.pt", "confidence": 0.5, "image_size": 320},
        detectors={"cars": {"model": "b.pt", "confidence": 0.3}, "unused": {"model": "c.pt"}},
        tracker={"low_confidence": 0.2},
    ))  # fmt: skip
    assert [(place.name, place.config.model, place.config.image_size) for place in detectors] == [
        ("detector", "a.pt", 320), ("detector-cars", "b.pt", 320)]  # fmt: skip
    assert [(shard.streams, shard.detector.name) for shard in shards] == [
        (["gate", "yard"], "detector"), (["road"], "detector-cars")]  # fmt: skip
    assert [place.confidence for place in detectors] == [0.5, 0.3]
    assert [place.config.confidence for place in detectors] == [0.2, 0.2]  # the tracker wants weaker ones


def test_a_default_that_every_stream_replaces_is_not_started() -> None:
    detectors, _ = lay_out(config({"road": {"detector": "cars"}}, detectors={"cars": {"model": "b.pt"}}))
    assert [place.name for place in detectors] == ["detector-cars"]


def test_several_devices_share_the_streams_evenly() -> None:
    detectors, shards = lay_out(config({f"s{n}": {} for n in range(7)}, detector={"devices": ["cuda:0", "cuda:1"]}))
    assert [(place.name, place.config.device) for place in detectors] == [
        ("detector@cuda:0", "cuda:0"), ("detector@cuda:1", "cuda:1")]  # fmt: skip
    assert [(len(shard.streams), shard.detector.config.device) for shard in shards] == [(4, "cuda:0"), (3, "cuda:1")]


def test_no_worker_holds_more_streams_than_it_may() -> None:
    _, shards = lay_out(config({f"s{n}": {} for n in range(20)}, detector={"devices": ["cuda:0", "cuda:1"]}))
    assert [len(shard.streams) for shard in shards] == [5, 5, 5, 5]


def test_a_detectors_own_device_goes_before_the_defaults_several() -> None:
    settings = config(
        {"road": {"detector": "cars"}},
        detector={"devices": ["cuda:0", "cuda:1"]},
        detectors={"cars": {"device": "cpu"}},
    )
    assert [place.config.device for place in lay_out(settings)[0]] == ["cpu"]
