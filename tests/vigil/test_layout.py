"""Streams meet the detector they name, and nothing is started that nobody uses."""

from __future__ import annotations

from typing import Any

from vigil.config import VigilConfig
from vigil.layout import DetectorPlace, Shard, detectors_of, emptiest, room, spread

CAMERA = "rtsp://10.0.0.1/x"


def lay_out(settings: VigilConfig) -> tuple[list[DetectorPlace], list[tuple[list[str], DetectorPlace]]]:
    """The detectors of a config, and its streams spread over workers."""
    by_name = detectors_of(settings)
    shards: list[tuple[list[str], DetectorPlace]] = []
    for name, places in by_name.items():
        ours = [stream for stream, one in settings.streams.items() if one.detector == name]
        if ours:
            shards += spread(ours, places, settings.workers.streams_per_worker)
    return [place for places in by_name.values() for place in places], shards


def config(streams: dict[str, dict[str, Any]], **settings: Any) -> VigilConfig:
    return VigilConfig.model_validate(
        {"streams": {name: {"url": CAMERA, **own} for name, own in streams.items()}, **settings}
    )


def test_one_detector_serves_all_and_workers_share_the_streams() -> None:
    detectors, shards = lay_out(config({f"s{n}": {} for n in range(5)}, workers={"streams_per_worker": 2}))
    assert [place.name for place in detectors] == ["detector"]
    assert [streams for streams, _ in shards] == [["s0", "s1"], ["s2", "s3"], ["s4"]]
    assert {place.name for _, place in shards} == {"detector"}


def test_a_worker_holds_streams_of_one_detector_only() -> None:
    detectors, shards = lay_out(config(
        {"gate": {}, "road": {"detector": "cars"}, "yard": {}},
        detector={"model": "a.pt", "confidence": 0.5, "image_size": 320},
        detectors={"cars": {"model": "b.pt", "confidence": 0.3}, "unused": {"model": "c.pt"}},
        tracker={"low_confidence": 0.2},
    ))  # fmt: skip
    assert [(place.name, place.config.model, place.config.image_size) for place in detectors] == [
        ("detector", "a.pt", 320), ("detector-cars", "b.pt", 320)]  # fmt: skip
    assert [(streams, place.name) for streams, place in shards] == [
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
    assert [(len(streams), place.config.device) for streams, place in shards] == [(4, "cuda:0"), (3, "cuda:1")]


def test_no_worker_holds_more_streams_than_it_may() -> None:
    _, shards = lay_out(config({f"s{n}": {} for n in range(20)}, detector={"devices": ["cuda:0", "cuda:1"]}))
    assert [len(streams) for streams, _ in shards] == [5, 5, 5, 5]


def test_a_detectors_own_device_goes_before_the_defaults_several() -> None:
    settings = config(
        {"road": {"detector": "cars"}},
        detector={"devices": ["cuda:0", "cuda:1"]},
        detectors={"cars": {"device": "cpu"}},
    )
    assert [place.config.device for place in lay_out(settings)[0]] == ["cpu"]


def test_without_streams_the_default_detector_stands_ready() -> None:
    assert [place.name for place in lay_out(config({}))[0]] == ["detector"]


def seated(place: DetectorPlace, *streams: int, capacity: int = 3) -> Shard:
    """A worker in which these numbers are taken."""
    return Shard("worker", place, capacity, seats=dict.fromkeys(streams))  # type: ignore[misc]


def test_one_more_stream_goes_to_the_emptiest_worker_with_room() -> None:
    place, other = lay_out(config({}))[0][0], lay_out(config({}))[0][0]
    full, half, strange = seated(place, 0, 1, 2), seated(place, 0), seated(other)
    assert room([full, half, strange], [place]) is half
    assert half.free_number() == 1
    assert room([full, strange], [place]) is None
    half.stuck = {1, 2}  # readers that do not end keep their numbers
    assert room([full, half], [place]) is None


def test_a_worker_for_one_stream_takes_no_other() -> None:
    (place,) = lay_out(config({}))[0]
    alone = seated(place)
    alone.alone = True
    assert room([alone], [place]) is None


def test_a_new_worker_serves_the_device_with_the_fewest_streams() -> None:
    places, _ = lay_out(config({}, detector={"devices": ["cuda:0", "cuda:1"]}))
    assert emptiest(places, [seated(places[0], 0), seated(places[1])]) is places[1]
