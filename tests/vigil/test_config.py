"""A config is read whole or refused whole: every problem at once, where it is, and never with a secret in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publish.config import NatsTls
from tests.publish.authority import Authority
from vigil.check import probe
from vigil.config import VigilConfig
from vigil.document import ConfigError, Problem
from vigil.load import load, parse

HERE = Path(__file__).parent
SECRET = "hunter2-Zq"
CAMERA = "rtsp://10.0.0.12/stream1"


def read(text: str, folder: Path = HERE) -> VigilConfig:
    return parse(text, "vigil.yaml", folder)


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value.problems


def the_problem(text: str) -> Problem:
    found = problems(text)
    assert len(found) == 1, found
    return found[0]


def test_one_camera_is_a_config() -> None:
    config = read(f"streams: {{gate: {{url: '{CAMERA}'}}}}")
    assert config.streams["gate"].url == CAMERA
    assert config.site == "local"
    assert config.nats.url == "embedded"
    assert config.http.host == "127.0.0.1"


def test_every_problem_is_told_at_once() -> None:
    text = f"""\
site: HQ
detector:
  confidence: 2
  modle: x.pt
streams:
  gate:
    url: {CAMERA}
    fps: 0
  Door:
    url: gopher://x/1
"""
    found = {problem.path: problem for problem in problems(text)}
    assert {path: problem.line for path, problem in found.items()} == {
        "site": 1, "detector.confidence": 3, "detector.modle": 4, "streams.gate.fps": 8, "streams.Door": 9,
        "streams.Door.url": 10,
    }  # fmt: skip
    assert found["site"].value == "'HQ'"
    assert found["detector.confidence"].value == "2"
    assert found["detector.modle"].mend == "did you mean 'model'?"
    assert found["streams.Door"].code == "config.id"
    assert found["streams.Door"].mend == ("use lower-case letters, digits, - and _, starting with a letter or digit")
    assert "use one of file, rtsp" in found["streams.Door.url"].message


def test_the_message_shows_line_path_value_and_mend() -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"streams:\n  gate:\n    url: {CAMERA}\n    transprot: udp\n    read_timeout: soon\n")
    message = str(caught.value)
    assert message.startswith("vigil.yaml: 2 problems\n")
    assert "line 4: streams.gate.transprot: is not a known key [config.unknown_key]" in message
    assert "→ did you mean 'transport'?" in message
    assert "line 5: streams.gate.read_timeout: " in message
    assert "(got 'soon')" in message


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("sites: hq", "site"), ("tracker: {knd: x}", "kind"), ("nats: {prefx: x}", "prefix"),
        ("http: {prot: 1}", "port"), ("log: {levle: info}", "level"),
        ("workers: {slots_per_streams: 4}", "slots_per_stream"),
    ],
)  # fmt: skip
def test_an_unknown_key_names_the_nearest_known_one(text: str, near: str) -> None:
    problem = the_problem(f"{text}\nstreams: {{gate: {{url: '{CAMERA}'}}}}")
    assert problem.code == "config.unknown_key"
    assert problem.mend == f"did you mean {near!r}?"


def test_an_unknown_key_of_a_streams_tracker_names_the_nearest_known_one() -> None:
    problem = the_problem(f"streams: {{gate: {{url: '{CAMERA}', tracker: {{lost_aftr: 3}}}}}}")
    assert problem.path == "streams.gate.tracker.lost_aftr"
    assert problem.mend == "did you mean 'lost_after'?"


def test_an_unknown_key_like_no_other_lists_the_known_ones() -> None:
    problem = the_problem(f"log: {{zzzzz: 1}}\nstreams: {{gate: {{url: '{CAMERA}'}}}}")
    assert problem.mend == "known keys: level, format"


def test_a_key_given_twice_is_a_problem_at_its_second_line() -> None:
    problem = the_problem(f"streams:\n  gate:\n    url: {CAMERA}\n  gate:\n    url: {CAMERA}\n")
    assert (problem.code, problem.path, problem.line) == ("config.duplicate", "streams.gate", 4)


@pytest.mark.parametrize("bad", ["Gate", "-gate", "_gate", "gate one", "gate.1", "tür", "", "a" * 65])
def test_a_bad_stream_id_is_refused(bad: str) -> None:
    problem = the_problem(f"streams:\n  ? {bad!r}\n  : {{url: '{CAMERA}'}}")
    assert problem.path == f"streams.{bad}"
    assert problem.line == 2


@pytest.mark.parametrize("good", ["gate", "0", "gate-1_b", "a" * 64])
def test_a_good_stream_id_is_taken(good: str) -> None:
    assert list(read(f"streams: {{{good}: {{url: '{CAMERA}'}}}}").streams) == [good]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}", "site: hq"])
def test_a_config_without_streams_says_so(text: str) -> None:
    problem = the_problem(text)
    assert (problem.code, problem.path, problem.mend) == ("config.missing", "streams", "add `streams:`")


@pytest.mark.parametrize("text", ["- a\n- b", "just words", "7"])
def test_a_config_that_is_no_mapping_says_so(text: str) -> None:
    assert "must be a mapping" in the_problem(text).message


@pytest.mark.parametrize("text", ["streams:", "streams: {gate: }", "streams: [gate]"])
def test_empty_streams_are_refused(text: str) -> None:
    assert the_problem(text).path.startswith("streams")


@pytest.mark.parametrize(
    ("text", "line"),
    [("site: hq\nstreams: {gate: [}\n", 2), ("site: hq\n\tlog: x\n", 2), ("a: b: c\n", 1), ("a: 1\n---\nb: 2\n", 2)],
)
def test_a_syntax_error_says_its_line(text: str, line: int) -> None:
    problem = the_problem(text)
    assert (problem.code, problem.line) == ("config.syntax", line)
    assert problem.message.startswith("not valid YAML: ")


@pytest.mark.parametrize(
    "value", ["!secret gate", "!!python/object/apply:os.system [id]", "2024-13-45", "!!int x", "!!binary é"]
)
def test_a_value_that_yaml_cannot_build_is_a_problem(value: str) -> None:
    found = problems(f"streams:\n  gate:\n    url: {value}\n")
    assert any(problem.line == 3 for problem in found)


def test_an_anchor_within_itself_is_a_problem() -> None:
    assert problems("streams: &again\n  gate: *again\n")


def test_anchors_are_followed() -> None:
    text = f"streams:\n  a: &cam\n    url: {CAMERA}\n    fps: 5\n  b: *cam\n"
    assert read(text).streams["b"].fps == 5


def test_merge_keys_are_followed_and_may_be_overridden() -> None:
    text = f"streams:\n  a: &cam\n    url: {CAMERA}\n    fps: 5\n  b:\n    <<: *cam\n    fps: 9\n"
    streams = read(text).streams
    assert (streams["b"].url, streams["a"].fps, streams["b"].fps) == (CAMERA, 5, 9)


# -- substitution


def test_variables_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_USER", "gate")
    monkeypatch.setenv("GATE_PASSWORD", SECRET)
    monkeypatch.setenv("GATE_FPS", "7.5")
    text = "streams:\n  gate:\n    url: rtsp://${GATE_USER}:${GATE_PASSWORD}@cam/1\n    fps: ${GATE_FPS}\n"
    stream = read(text).streams["gate"]
    assert stream.url == f"rtsp://gate:{SECRET}@cam/1"
    assert stream.fps == 7.5


def test_a_default_stands_in_for_an_unset_variable_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SITE_A", raising=False)
    monkeypatch.setenv("HOST_A", "set")
    text = "site: ${SITE_A:-hq}\nstreams: {gate: {url: 'rtsp://${HOST_A:-cam}/${PATH_A:-}'}}"
    config = read(text)
    assert config.site == "hq"
    assert config.streams["gate"].url == "rtsp://set/"


def test_an_unset_variable_is_told_once_with_its_place_and_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_THING", raising=False)
    problem = the_problem("streams:\n  gate:\n    url: ${NO_SUCH_THING}\n")
    assert (problem.code, problem.path, problem.line) == ("config.variable", "streams.gate.url", 3)
    assert problem.value == "${NO_SUCH_THING}"
    assert problem.mend == "export NO_SUCH_THING=…, or write ${NO_SUCH_THING:-default}"


def test_a_bad_variable_name_is_told() -> None:
    assert the_problem("site: ${1x}\nstreams: {gate: {url: 'rtsp://h/1'}}").message == "is not a variable name"


def test_a_secret_file_is_filled_in_without_its_last_newline(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(SECRET + "\n")
    text = f"streams: {{gate: {{url: 'rtsp://u:${{file:{tmp_path}/password}}@cam/1'}}}}"
    assert read(text).streams["gate"].url == f"rtsp://u:{SECRET}@cam/1"


def test_a_missing_secret_file_is_told(tmp_path: Path) -> None:
    problem = the_problem(f"streams:\n  gate:\n    url: rtsp://u:${{file:{tmp_path}/nowhere}}@cam/1\n")
    assert (problem.code, problem.line) == ("config.secret", 3)
    assert "nowhere: No such file" in problem.message


def test_a_relative_secret_file_lies_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(SECRET)
    text = "streams: {gate: {url: 'rtsp://u:${file:password}@cam/1'}}"
    assert read(text, tmp_path).streams["gate"].url == f"rtsp://u:{SECRET}@cam/1"


# -- secrets stay out of what is said


def said(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value) + repr(caught.value.problems)


@pytest.mark.parametrize(
    "text",
    [
        "streams: {gate: {url: 'gopher://u:%s@cam/1'}}",
        "streams: {gate: {url: 'rtsp://u:%s@cam/1', on_full: block}}",
        "streams: {gate: {url: 'rtsp://u:%s@cam/1', fps: -1, loop: 7}}",
        "streams: {gate: {url: 'admin:%s@10.0.0.12/stream1'}}",
        "streams: {gate: {url: 'rtsp://u:%s?＠x@cam/1', fps: -1}}",
        "streams: {gate: {url: ['rtsp://u:%s@cam/1']}}",
        "nats: {url: 'http://u:%s@nats'}\nstreams: {gate: {url: 'rtsp://h/1'}}",
        "http: {token: ['%s']}\nstreams: {gate: {url: 'rtsp://h/1'}}",
        "http: {token: {is: '%s'}}\nstreams: {gate: {url: 'rtsp://h/1'}}",
        "http: {token: '%s', prot: 1}\nstreams: {gate: {url: 'rtsp://h/1'}}",
    ],
)
def test_secrets_are_not_in_the_error(text: str) -> None:
    assert SECRET not in said(text % SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "site: ${VALUE_A}",
        "log: {level: '${VALUE_A}'}",
        "http: {port: '${VALUE_A}'}",
        "nats: {url: '${VALUE_A}'}",
        "tracker: {kind: '${VALUE_A}'}",
        "nats: {credentials: '${VALUE_A}'}",
    ],
)
def test_what_a_variable_held_is_not_in_the_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret put into the wrong place: what is shown is what was written."""
    monkeypatch.setenv("VALUE_A", f"{SECRET} of mine")
    error = said(f"{text}\nstreams: {{gate: {{url: 'rtsp://h/1'}}}}")
    assert SECRET not in error
    assert "${VALUE_A}" in error


# -- what no single field can know


def test_a_missing_video_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read("streams:\n  gate:\n    url: nowhere.mp4\n", tmp_path)
    problem = caught.value.problems[0]
    assert (problem.code, problem.path, problem.line) == ("config.file_missing", "streams.gate.url", 3)
    assert problem.value == "'nowhere.mp4'"


@pytest.mark.parametrize(
    ("setting", "path"), [("on_full: block", "on_full"), ("loop: true", "loop"), ("pace: fast", "pace")]
)
def test_settings_for_files_are_refused_for_cameras(setting: str, path: str) -> None:
    problem = the_problem(f"streams:\n  gate:\n    url: {CAMERA}\n    {setting}\n")
    assert (problem.code, problem.path, problem.line) == ("config.conflict", f"streams.gate.{path}", 4)


def test_a_missing_model_file_is_told() -> None:
    problem = the_problem(f"detector: {{model: models/no.onnx}}\nstreams: {{gate: {{url: '{CAMERA}'}}}}")
    assert (problem.code, problem.path) == ("config.file_missing", "detector.model")


def test_a_missing_model_file_of_a_named_detector_is_told() -> None:
    problem = the_problem(
        f"detectors:\n  cars: {{model: models/no.onnx}}\nstreams: {{gate: {{url: '{CAMERA}', detector: cars}}}}"
    )
    assert (problem.code, problem.path, problem.line) == ("config.file_missing", "detectors.cars.model", 2)


def test_a_detector_that_does_not_exist_is_told() -> None:
    problem = the_problem(f"detectors: {{cars: {{}}}}\nstreams: {{gate: {{url: '{CAMERA}', detector: crs}}}}")
    assert (problem.code, problem.path) == ("config.unknown_detector", "streams.gate.detector")
    assert problem.mend == "known: cars"


def test_a_misspelt_setting_of_a_named_detector_is_told_with_the_right_one() -> None:
    problem = the_problem(f"detectors: {{cars: {{modle: x}}}}\nstreams: {{gate: {{url: '{CAMERA}', detector: cars}}}}")
    assert (problem.path, problem.mend) == ("detectors.cars.modle", "did you mean 'model'?")


def test_one_device_and_several_are_a_contradiction() -> None:
    problem = the_problem(f"detector: {{device: cpu, devices: [cuda:0]}}\nstreams: {{gate: {{url: '{CAMERA}'}}}}")
    assert problem.path == "detector"
    assert "set one of them" in problem.message


def test_a_missing_calibration_folder_is_told() -> None:
    problem = the_problem(f"detector: {{calibration: pictures}}\nstreams: {{gate: {{url: '{CAMERA}'}}}}")
    assert (problem.code, problem.path) == ("config.file_missing", "detector.calibration")


def test_a_model_on_a_server_is_no_file() -> None:
    detector = "detector: {model: 'triton://gpu-1:8001/yolo/2', triton: {sidecar: SIDECAR}}\n"
    problem = the_problem(f"{detector}streams: {{gate: {{url: '{CAMERA}'}}}}")
    assert (problem.code, problem.path) == ("config.file_missing", "detector.triton.sidecar")
    problem = the_problem(f"detector: {{model: 'triton://gpu-1'}}\nstreams: {{gate: {{url: '{CAMERA}'}}}}")
    assert problem.path == "detector"
    assert "'triton://gpu-1' is not triton://host:8001/model" in problem.message


def masked(masks: str) -> str:
    return f"streams: {{gate: {{url: '{CAMERA}', privacy_masks: {masks}}}}}"


def test_privacy_masks_are_named_polygons() -> None:
    config = read(masked("{window: {polygon: [[0, 0], [0.5, 0], [0.5, 1]]}}"))
    assert config.streams["gate"].privacy_masks["window"].polygon == [(0, 0), (0.5, 0), (0.5, 1)]
    assert config.streams["gate"].masks is not None
    assert read(f"streams: {{gate: {{url: '{CAMERA}'}}}}").streams["gate"].masks is None


@pytest.mark.parametrize(
    ("polygon", "said"),
    [
        ("[[0, 0], [1, 1]]", "at least 3"),
        ("[[0, 0], [1, 1], [1, 0], [0, 1]]", r"edges cross or touch \(self-intersection near \[0.5 0.5\]\)"),
        ("[[0, 0], [0.5, 0.5], [1, 1]]", "no area"),
        ("[[0.2, 0.2], [0.2, 0.2], [0.2, 0.2]]", "no area"),
        ("[[0, 0], [1, 0], [1.2, 1]]", "less than or equal to 1"),
        ("[[-0.1, 0], [1, 0], [1, 1]]", "greater than or equal to 0"),
        ("[[0, 0], [.nan, 0], [1, 1]]", "less than or equal to 1"),
    ],
)
def test_a_mask_that_is_no_simple_polygon_of_the_picture_is_refused(polygon: str, said: str) -> None:
    problem = the_problem(masked(f"{{window: {{polygon: {polygon}}}}}"))
    assert problem.path.startswith("streams.gate.privacy_masks.window.polygon")
    assert re.search(said, problem.message)


def test_masks_that_hide_the_whole_picture_are_refused() -> None:
    halves = "{a: {polygon: [[0, 0], [1, 0], [1, 0.6]]}, b: {polygon: [[0, 0], [1, 0.5], [1, 1], [0, 1]]}}"
    problem = the_problem(masked(halves))
    assert problem.path == "streams.gate.privacy_masks"
    assert "hide the whole picture" in problem.message


def test_an_unknown_key_of_a_mask_names_the_nearest() -> None:
    found = {problem.path: problem.mend for problem in problems(masked("{window: {polygn: [[0, 0], [1, 0], [1, 1]]}}"))}
    assert found["streams.gate.privacy_masks.window.polygn"] == "did you mean 'polygon'?"


def test_a_change_of_a_mask_changes_the_stream() -> None:
    one = read(masked("{window: {polygon: [[0, 0], [0.5, 0], [0.5, 1]]}}"))
    other = read(masked("{window: {polygon: [[0, 0], [0.6, 0], [0.5, 1]]}}"))
    assert one.streams["gate"] != other.streams["gate"]
    assert one.revision != other.revision


def test_relative_paths_begin_at_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    for name in ("clip.mp4", "mine.onnx"):
        (folder / name).touch()
    authority = Authority(folder)
    authority.issue("ours")
    seed = "SUAMLK2ZNL35WSMW37E7UD4VZ7ELPKW7DHC3BWBSD2GCZ7IUQQXZIORRBU"  # nobody's: from NATS's documentation
    user = f"-----BEGIN NATS USER JWT-----\nx\n-----BEGIN USER NKEY SEED-----\n{seed}\n"
    (folder / "user.creds").write_text(user)
    (folder / "vigil.yaml").write_text(
        "detector: {model: mine.onnx, calibration: ., triton: {sidecar: clip.mp4}}\n"
        "detectors: {more: {model: mine.onnx}}\n"
        "nats: {url: 'tls://a', credentials: user.creds,"
        " tls: {ca: authority.pem, certificate: ours.cert.pem, key: ours.key.pem}}\nstate_dir: state\n"
        "streams: {gate: {url: clip.mp4}, door: {url: ./clip.mp4}}\n"
    )
    monkeypatch.chdir(tmp_path)
    config = load(Path("site/vigil.yaml"))
    assert config.streams["gate"].file_path == folder / "clip.mp4"
    assert config.streams["door"].file_path == folder / "clip.mp4"
    assert Path(config.detector.model) == Path(config.detectors["more"].model) == folder / "mine.onnx"
    assert config.detector.calibration == folder
    assert config.detector.triton.sidecar == folder / "clip.mp4"
    assert config.nats.credentials == folder / "user.creds"
    assert config.nats.tls == NatsTls(
        ca=folder / "authority.pem", certificate=folder / "ours.cert.pem", key=folder / "ours.key.pem"
    )
    assert config.state_folder == folder / "state"


@pytest.mark.parametrize(
    ("nats", "code", "path"),
    [
        ("{url: 'nats://a', token: hunter2, user: u, password: hunter2}", "config.conflict", "nats.token"),
        ("{url: 'nats://u:hunter2@a', token: x}", "config.conflict", "nats.url"),
        ("{token: hunter2}", "config.conflict", "nats.token"),
        ("{url: 'tls://a', tls: {first: yes, ca: none.pem}}", "config.file_missing", "nats.tls.ca"),
        ("{url: 'nats://a', nkey: vigil.yaml}", "config.file_invalid", "nats.nkey"),
        ("{url: 'nats://a', replicas: 9}", "config.value", "nats.replicas"),
        ("{url: 'tls://a', tls: {cert: x}}", "config.unknown_key", "nats.tls.cert"),
    ],
)
def test_a_login_at_nats_that_cannot_be_is_refused_with_its_setting(
    tmp_path: Path, nats: str, code: str, path: str
) -> None:
    file = tmp_path / "vigil.yaml"
    file.write_text(f"nats: {nats}\nstreams: {{gate: {{url: '{CAMERA}'}}}}\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    (problem,) = error.value.problems
    assert (problem.code, problem.path, problem.line) == (code, path, 1)
    assert problem.mend or code == "config.value"
    assert "hunter2" not in str(error.value)


def test_absolute_paths_and_urls_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    clip = tmp_path / "clip.mp4"
    text = f"streams: {{a: {{url: '{clip}'}}, b: {{url: 'file://{clip}'}}, c: {{url: '{CAMERA}'}}}}"
    config = read(text, HERE)
    assert config.streams["a"].file_path == config.streams["b"].file_path == tmp_path / "clip.mp4"
    assert config.streams["c"].url == CAMERA


def test_a_config_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: 1 problem\n  file: No such file"):
        load(tmp_path / "nowhere.yaml")


def test_a_config_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "vigil.yaml").write_bytes(b"\xff\xfe\x00site")
    with pytest.raises(ConfigError, match=r"config\.unreadable"):
        load(tmp_path / "vigil.yaml")


def test_the_revision_changes_with_the_config_and_only_then() -> None:
    first = read(f"streams: {{gate: {{url: '{CAMERA}'}}}}")
    same = read(f"# a comment\nsite: local\nstreams:\n  gate:\n    url: {CAMERA}\n")
    other = read(f"streams: {{gate: {{url: '{CAMERA}', fps: 5}}}}")
    assert first.revision == same.revision != other.revision
    assert len(first.revision) == 8


keys = st.sampled_from(
    ["site", "streams", "gate", "url", "fps", "detector", "nats", "tracker", "http", "Ü", "1", "a b"]
)
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("${file:}"))
trees = st.recursive(leaves, lambda deeper: st.one_of(
    st.lists(deeper, max_size=3), st.dictionaries(keys, deeper, max_size=4)), max_leaves=12)  # fmt: skip


@settings(deadline=None)
@given(st.one_of(trees, st.fixed_dictionaries({"streams": trees}), st.fixed_dictionaries({"detector": trees})))
def test_whatever_is_in_the_file_only_a_config_error_comes_out(tree: object) -> None:
    import yaml

    try:
        read(yaml.safe_dump(tree))
    except ConfigError as error:
        assert error.problems
        assert str(error).startswith("vigil.yaml: ")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_whatever_the_text_only_a_config_error_comes_out(text: str) -> None:
    with pytest.raises(ConfigError):
        read(text)


HALF = "{polygon: [[0, 0], [0.6, 0], [0.6, 1], [0, 1]]}"


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("zones: {door: {polygon: [[0.1, 0.1], [0.5, 0.1], [0.5, 0.9]]}}", "streams.gate.zones.door.polygon"),
        ("lines: {exit: {from: [0.1, 0.1], to: [0.5, 0.9]}}", "streams.gate.lines.exit.from"),
    ],
)
def test_a_zone_or_line_that_a_privacy_mask_hides_is_told_of(rule: str, path: str) -> None:
    stream = f"streams: {{gate: {{url: '{CAMERA}', privacy_masks: {{house: {HALF}}}, {rule}}}}}"
    problem = the_problem(stream)
    assert (problem.code, problem.path) == ("config.hidden", path)
    assert read(stream.replace("[0.5, 0.9]", "[0.7, 0.9]"))  # a part that is seen is enough


def ruled(rule: str) -> str:
    return f"streams: {{gate: {{url: '{CAMERA}', {rule}}}}}"


@pytest.mark.parametrize(
    ("rule", "code", "path"),
    [
        ("zones: {slit: {polygon: [[0.3, 0.5], [0.7, 0.5], [0.7, 0.515], [0.3, 0.515]]}}", "config.too_small",
         "streams.gate.zones.slit.polygon"),
        ("zones: {door: {polygon: [[0.4, 0.4], [0.5, 0.4], [0.5, 0.6]], margin: 0.3}}", "config.too_small",
         "streams.gate.zones.door.polygon"),
        ("lines: {exit: {from: [0.1, 0.995], to: [0.9, 0.995]}}", "config.unreachable", "streams.gate.lines.exit.from"),
        ("lines: {exit: {from: [0.1, 0.5], to: [0.9, 0.5], margin: 0.5}}", "config.unreachable",
         "streams.gate.lines.exit.from"),
        ("lines: {exit: {from: [0, 0.001], to: [0.001, 0]}}", "config.unreachable", "streams.gate.lines.exit.from"),
    ],
)  # fmt: skip
def test_a_zone_that_nothing_can_be_in_or_a_line_that_nothing_can_cross_is_told_of(
    rule: str, code: str, path: str
) -> None:
    problem = the_problem(ruled(rule))
    assert (problem.code, problem.path) == (code, path)
    assert problem.mend or code == "config.value"


@pytest.mark.parametrize(
    "rule",
    [
        "zones: {all: {polygon: [[0, 0], [1, 0], [1, 1], [0, 1]], margin: 0.5}}",
        "zones: {slit: {polygon: [[0.3, 0.5], [0.7, 0.5], [0.7, 0.53], [0.3, 0.53]]}}",
        "zones: {edge: {polygon: [[0.3, 0.985], [0.7, 0.985], [0.7, 1], [0.3, 1]]}}",
        "lines: {exit: {from: [0.1, 0.98], to: [0.9, 0.98]}}",
        "lines: {corner: {from: [0, 0.1], to: [0.1, 0]}}",
    ],
)
def test_a_zone_or_line_that_is_of_use_somehow_is_taken(rule: str) -> None:
    assert read(ruled(rule))


def test_a_ground_that_is_none_is_told_of() -> None:
    flat = "picture: [[0.2, 0.9], [0.5, 0.9], [0.8, 0.9], [0.4, 0.4]]"
    problem = the_problem(ruled(f"ground: {{{flat}, metres: [[0, 0], [6, 0], [6, 20], [0, 20]]}}"))
    assert problem.path == "streams.gate.ground"
    assert "lie on one line" in problem.message


@pytest.mark.parametrize(
    ("rule", "path", "mend"),
    [
        ("zones: {door: {polygn: [[0, 0], [1, 0], [1, 1]]}}", "streams.gate.zones.door.polygn", "polygon"),
        ("lines: {exit: {from: [0, 0.5], to: [1, 0.5], window: [60]}}", "streams.gate.lines.exit.window", "windows"),
        ("ground: {pictre: 1}", "streams.gate.ground.pictre", "picture"),
    ],
)
def test_an_unknown_key_of_a_rule_names_the_nearest(rule: str, path: str, mend: str) -> None:
    found = {problem.path: problem.mend for problem in problems(ruled(rule))}
    assert found[path] == f"did you mean {mend!r}?"


def test_a_config_without_streams_can_be_probed() -> None:
    assert probe(read("streams: {}")) == []


@pytest.mark.parametrize(("source", "words"), [
    (f"url: '{CAMERA}'\n    privacy_masks: {{door: {{polygon: [[0, 0], [0.5, 0], [0.5, 0.5]]}}}}", "without masks"),
    ("url: 'scene://street'", "pictures, not video"),
    ("url: 'whip://'", "pictures, not video"),
    ("url: 'v4l2:///dev/video0'", "pictures, not video"),
])  # fmt: skip
def test_clips_that_would_show_too_much_or_cannot_be_are_refused(source: str, words: str) -> None:
    problem = the_problem(f"streams:\n  gate:\n    {source}\n    clips: {{}}\n")
    assert (problem.code, problem.path) == ("config.conflict", "streams.gate.clips")
    assert words in problem.message and problem.mend is not None and "snapshots" in problem.mend
    assert read(f"streams:\n  gate:\n    {source}\n    snapshots: {{}}\n").streams["gate"].snapshots is not None


def test_media_is_beside_the_config_or_in_the_state_folder(tmp_path: Path) -> None:
    text = f"site: hq\nstreams: {{gate: {{url: '{CAMERA}'}}}}\nstate_dir: state\n"
    assert read(text, tmp_path).media_folder == tmp_path / "state" / "media"
    assert read(text + "media: {folder: pictures}\n", tmp_path).media_folder == tmp_path / "pictures"


def test_a_store_that_lacks_its_bucket_says_so() -> None:
    problem = the_problem(f"media: {{store: s3}}\nstreams: {{gate: {{url: '{CAMERA}'}}}}\n")
    assert problem.path == "media" and "s3: {bucket: …}" in problem.message
