"""What is wrong with a tracker's settings is said with the place, the value and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracking.trackers import TRACKERS
from vigil.config import VigilConfig
from vigil.document import ConfigError, Problem
from vigil.load import parse

CAMERA = "rtsp://10.0.0.12/stream1"


def config(text: str, own: str = "{}") -> VigilConfig:
    return parse(f"{text}\nstreams: {{gate: {{url: '{CAMERA}', tracker: {own}}}}}", "vigil.yaml", Path())


def the_problem(text: str, own: str = "{}") -> Problem:
    with pytest.raises(ConfigError) as caught:
        config(text, own)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("kind", TRACKERS)
def test_every_tracker_can_be_chosen(kind: str) -> None:
    reid = "off" if kind in ("bytetrack", "ocsort") else "detector"
    assert config(f"tracker: {{kind: {kind}, reid: {reid}}}").tracker_of("gate").kind == kind


@pytest.mark.parametrize(("kind", "reid"), [("deepsort", "off"), ("strongsort", "off"), ("bytetrack", "detector")])
def test_looks_that_nobody_tells_or_nobody_compares_are_refused(kind: str, reid: str) -> None:
    with pytest.raises(ConfigError, match="what objects look like"):
        config(f"tracker: {{kind: {kind}, reid: {reid}}}")


def test_what_was_valid_stays_valid() -> None:
    tracker = config("tracker: {kind: bytetrack, lost_after: 1.5}", "{match_threshold: 0.7}").tracker_of("gate")
    assert (tracker.lost_after, tracker.match_threshold, tracker.per_class) == (1.5, 0.7, False)


def test_a_stream_overrides_single_parameters_of_a_tracker() -> None:
    tracker = config("tracker: {kind: ocsort, ocsort: {inertia: 0.5, delta_t: 2}}", "{ocsort: {delta_t: 4}}")
    own = tracker.tracker_of("gate").ocsort
    assert (own.inertia, own.delta_t, own.min_hits) == (0.5, 4, 3)


@pytest.mark.parametrize(
    ("text", "path", "near"),
    [
        ("tracker: {kind: botsort, botsort: {apearance_threshold: 0.2}}", "tracker.botsort.apearance_threshold",
         "appearance_threshold"),
        ("tracker: {per_clas: true}", "tracker.per_clas", "per_class"),
        ("tracker: {botsrt: {}}", "tracker.botsrt", "botsort"),
    ],
)  # fmt: skip
def test_an_unknown_parameter_names_the_nearest_known_one(text: str, path: str, near: str) -> None:
    problem = the_problem(text)
    assert problem.path == path
    assert problem.mend == f"did you mean {near!r}?"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ocsort.inertia", "1.1"), ("deepsort.max_cosine_distance", "0"), ("botsort.proximity_threshold", "2"),
        ("strongsort.ema_alpha", "1"), ("boosttrack.max_aspect_ratio", "0"), ("hybridsort.association", "area"),
        ("deepocsort.delta_t", "0"),
    ],
)  # fmt: skip
def test_a_parameter_out_of_bounds_is_refused(setting: str, value: str) -> None:
    group, _, name = setting.partition(".")
    problem = the_problem("", f"{{{group}: {{{name}: {value}}}}}")
    assert problem.path == f"streams.gate.tracker.{setting}"
    assert problem.value is not None and value in problem.value


def test_a_tracker_that_cannot_follow_a_moving_camera_says_who_can() -> None:
    problem = the_problem("tracker: {kind: ocsort, camera_motion: ecc}")
    assert problem.path == "tracker.camera_motion"
    assert "ocsort does not follow a moving camera" in problem.message
    assert problem.mend is not None and "botsort" in problem.mend
    own = the_problem("tracker: {kind: botsort, camera_motion: ecc}", "{kind: bytetrack}")
    assert own.path == "streams.gate.tracker.camera_motion"
    assert config("tracker: {kind: botsort, camera_motion: sparse_flow}").tracker.camera_motion == "sparse_flow"


def test_off_may_be_written_as_it_is_spoken() -> None:
    """YAML reads it as a truth value."""
    assert config("tracker: {kind: botsort, camera_motion: off}").tracker.camera_motion == "off"


def test_thresholds_the_wrong_way_round_are_refused() -> None:
    problem = the_problem("", "{low_confidence: 0.6, high_confidence: 0.5}")
    assert problem.path == "streams.gate.tracker.low_confidence"
    assert "not below high_confidence" in problem.message
