"""Identity across cameras is refused, in words that help, where there is nothing, or nothing alike, to compare."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracking.test_reid_file import GOOD_INPUT, GOOD_OUTPUT, written
from vigil.config import VigilConfig
from vigil.document import ConfigError, Problem
from vigil.load import parse

ON = "identity: {enabled: true}\n"
GATE, YARD = "streams:\n  gate: {url: 'rtsp://x/a'%s}\n", "  yard: {url: 'rtsp://x/b'%s}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("osnet.onnx", "other.onnx"):
        written(tmp_path / name, [GOOD_INPUT], [GOOD_OUTPUT])
    return tmp_path


def read(text: str, folder: Path) -> VigilConfig:
    return parse(text, "vigil.yaml", folder)


def the_problem(text: str, folder: Path) -> Problem:
    with pytest.raises(ConfigError) as caught:
        read(text, folder)
    (problem,) = caught.value.problems
    return problem


def reid(what: str) -> str:
    return f", tracker: {{reid: {what}}}"


def test_streams_with_a_reid_model_take_part_and_others_do_not(folder: Path) -> None:
    config = read(ON + GATE % reid("osnet.onnx") + YARD % "", folder)
    assert config.identity_of("gate") is not None
    assert config.identity_of("yard") is None


def test_off_is_the_default_and_changes_nothing(folder: Path) -> None:
    text = "tracker: {kind: botsort, reid: osnet.onnx}\n" + GATE % "" + YARD % ""
    off, on = read(text, folder), read(ON + text, folder)
    assert off.identity_of("gate") is None
    assert off.revision_of("gate") != on.revision_of("gate")
    one = read("identity: {enabled: true, streams: [gate]}\n" + text, folder)
    assert one.revision_of("gate") == on.revision_of("gate"), "who else takes part is no matter"
    assert one.revision_of("yard") == off.revision_of("yard")


def test_a_tracker_that_does_not_look_may_have_a_reid_model_for_identity(folder: Path) -> None:
    text = "tracker: {kind: bytetrack, reid: osnet.onnx}\n" + GATE % ""
    assert read(ON + text, folder).identity_of("gate") is not None
    assert the_problem(text, folder).path == "tracker.reid"
    own = GATE % reid("osnet.onnx") + YARD % reid("osnet.onnx")
    assert the_problem("identity: {enabled: true, streams: [gate]}\n" + own, folder).path == "streams.yard.tracker.reid"


def test_without_a_reid_model_on_any_stream_it_is_refused(folder: Path) -> None:
    problem = the_problem(ON + GATE % "", folder)
    assert (problem.code, problem.path) == ("config.no_features", "identity.enabled")
    assert "tracker.reid" in (problem.mend or "")


def test_streams_may_come_later_when_the_tracker_looks(folder: Path) -> None:
    read(ON + "tracker: {reid: osnet.onnx}\nstreams: {}\n", folder)
    assert the_problem(ON + "streams: {}\n", folder).code == "config.no_features"


def test_a_stream_that_is_named_must_exist_and_look(folder: Path) -> None:
    streams = GATE % reid("osnet.onnx") + YARD % ""
    problem = the_problem("identity: {enabled: true, streams: [gate, yrd]}\n" + streams, folder)
    assert (problem.code, problem.path, problem.value) == ("config.unknown_stream", "identity.streams", "yrd")
    problem = the_problem("identity: {enabled: true, streams: [gate, yard]}\n" + streams, folder)
    assert (problem.code, problem.value) == ("config.no_features", "yard")


def test_different_reid_models_cannot_be_compared(folder: Path) -> None:
    text = GATE % reid("osnet.onnx") + YARD % reid("other.onnx")
    problem = the_problem(ON + text, folder)
    assert (problem.code, problem.path) == ("config.different_features", "streams.yard.tracker.reid")
    assert "'gate'" in problem.message and "osnet.onnx" in problem.message
    text = GATE % reid("osnet.onnx") + YARD % ", tracker: {kind: botsort, reid: other.onnx}"
    read("identity: {enabled: true, streams: [gate]}\n" + text, folder)


def test_features_of_different_detectors_cannot_be_compared(folder: Path) -> None:
    likeness = "identity: {enabled: true, likeness: {same: 0.8, different: 0.5, deviation: 0.1}}\n"
    text = likeness + "detectors: {other: {confidence: 0.5}}\n" + GATE % reid("detector")
    problem = the_problem(text + YARD % (reid("detector") + ", detector: other"), folder)
    assert problem.code == "config.different_features"
    assert "detectors.other" in problem.message
    read(text + YARD % reid("detector"), folder)


def test_the_detectors_own_features_want_a_likeness_that_someone_measured(folder: Path) -> None:
    problem = the_problem(ON + GATE % reid("detector"), folder)
    assert (problem.code, problem.path) == ("config.weak_features", "identity.likeness")


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ("likeness: {same: 0.5, different: 0.5, deviation: 0.1}", "identity.likeness"),
        ("likeness: {same: 0.5, different: 0.2, deviation: 0}", "identity.likeness.deviation"),
        ("memory: 0", "identity.memory"),
        ("looks: 0", "identity.looks"),
        ("classes: []", "identity.classes"),
        ("streams: []", "identity.streams"),
        ("stream: [gate]", "identity.stream"),
    ],
)
def test_values_that_make_no_sense_are_refused_where_they_are(settings: str, path: str, folder: Path) -> None:
    problem = the_problem(f"identity: {{enabled: true, {settings}}}\n" + GATE % reid("osnet.onnx"), folder)
    assert (problem.path, problem.line) == (path, 1)
