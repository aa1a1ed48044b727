"""`vigil replay`: what is written about recordings, the same each time, and what becomes of broken ones."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Generator
from itertools import count, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from inference.errors import ModelError
from ingest.privacy import FILL_VALUE
from publish.schema import FrameResult, TrackEvent
from tests.e2e.real import wait_for
from vigil.asking import DeclinedError
from vigil.cli import app
from vigil.detector import Loaded, load_model
from vigil.document import ConfigError
from vigil.recording import Analyst, Seen, read_ahead
from vigil.replay import Outcome, Request, replay, run
from vigil.replay_jobs import side_by_side
from vigil.replay_report import show

FRAMES = 40
# People walk to and fro here: a zone and a line in the middle of the picture.
PLACES: dict[str, Any] = {
    "zones": {"middle": {"polygon": [[0.3, 0.2], [0.7, 0.2], [0.7, 0.9], [0.3, 0.9]], "hold": 0.0}},
    "lines": {"cut": {"from": [0.45, 1.0], "to": [0.45, 0.0], "hold": 0.0}},
}


@pytest.fixture(scope="session")
def clip(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of a real video, as they were encoded."""
    path = tmp_path_factory.mktemp("clips") / "walkers.mp4"
    with av.open(str(data / "videos" / "PETS09-S2L1.mp4")) as source, av.open(str(path), "w") as target:
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        for packet in islice(source.demux(video), FRAMES):
            packet.stream = copy
            target.mux(packet)
    return path


def written_config(folder: Path, data: Path, **streams: dict[str, Any]) -> Path:
    file = folder / "vigil.yaml"
    file.write_text(yaml.safe_dump({
        "detector": {
            "model": str(data / "weights" / "yolov8n.pt"), "runtime": "openvino", "image_size": 320,
            "classes": ["person"],
        },
        "streams": {name: {"url": f"rtsp://10.0.0.9/{name}", **stream} for name, stream in streams.items()},
    }))  # fmt: skip
    return file


@pytest.fixture(scope="session")
def request_(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Request:
    folder = tmp_path_factory.mktemp("replay")
    config = written_config(folder, data, gate=PLACES)
    return Request(config=config, out=folder, mot=True, jsonl=True, video=True)


@pytest.fixture(scope="session")
def model(request_: Request) -> Loaded:
    return load_model(request_.settings().detector)


@pytest.fixture(scope="session")
def analyst(request_: Request, model: Loaded) -> Analyst:
    return Analyst(request_.settings(), model)


@pytest.fixture(scope="session")
def outcome(clip: Path, analyst: Analyst, request_: Request) -> Outcome:
    return replay(clip, analyst, request_, lambda done, of: None)


@pytest.fixture
def as_stream(model: Loaded, data: Path, tmp_path: Path) -> Callable[..., tuple[Analyst, Request]]:
    """An analyst with a stream's settings, and what is to be written in `tmp_path`."""

    def make(**stream: Any) -> tuple[Analyst, Request]:
        config = written_config(tmp_path, data, gate=stream)
        request = Request(config=config, out=tmp_path, mot=True, jsonl=True, video=True)
        return Analyst(request.settings(), model), request

    return make


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def pictures(file: Path) -> list[av.VideoFrame]:
    with av.open(str(file)) as container:
        return list(container.decode(video=0))


def vigil(*arguments: str | Path) -> Result:
    """The command in this process, which keeps its own signals."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])
    finally:
        signal.signal(signal.SIGTERM, handler)


def test_a_recording_becomes_tracks_messages_and_a_video(outcome: Outcome, request_: Request) -> None:
    assert (outcome.error, outcome.frames, outcome.analysed) == (None, FRAMES, FRAMES)
    assert {Path(path).name for path in outcome.written} == {
        "walkers.txt", "walkers.frames.jsonl", "walkers.events.jsonl", "walkers.annotated.mp4",
    }  # fmt: skip
    results = [FrameResult.model_validate(line) for line in lines(request_.out / "walkers.frames.jsonl")]
    events = [TrackEvent.model_validate(line) for line in lines(request_.out / "walkers.events.jsonl")]
    assert [result.seq for result in results] == list(range(FRAMES))
    assert {result.stream for result in results} == {"gate"}
    assert outcome.tracks == outcome.events["track.ended"] >= 5
    assert outcome.events["zone.entered"] == outcome.events["zone.left"] > 0
    assert len(events) == sum(outcome.events.values())
    rows = np.loadtxt(request_.out / "walkers.txt", delimiter=",")
    tracked = sum(seen.track_id is not None for result in results for seen in result.objects)
    assert rows.shape == (tracked, 9)
    assert set(rows[:, 7]) == {0}  # persons
    assert rows[:, 0].min() >= 1
    assert rows[:, 0].max() == FRAMES
    assert (rows[:, 4:6] > 10).all()


def test_the_video_has_the_recordings_frames_at_its_rate_with_boxes_drawn(
    outcome: Outcome, clip: Path, request_: Request
) -> None:
    assert outcome.frames
    original, annotated = pictures(clip), pictures(request_.out / "walkers.annotated.mp4")
    assert [frame.time for frame in annotated] == pytest.approx([frame.time for frame in original], abs=1e-4)
    with av.open(str(request_.out / "walkers.annotated.mp4")) as container:
        assert float(container.streams.video[0].average_rate or 0) == pytest.approx(7, abs=0.01)
    rows = np.loadtxt(request_.out / "walkers.txt", delimiter=",")
    before, after = (frames[-1].to_ndarray(format="bgr24").astype(int) for frames in (original, annotated))
    for left, top, _, height in rows[rows[:, 0] == FRAMES][:, 2:6].astype(int):
        edge = slice(max(0, top + height // 4), top + height // 2), max(0, left)
        assert np.abs(before[edge] - after[edge]).max() > 60


def test_the_same_recording_gives_the_same_bytes(
    outcome: Outcome, clip: Path, request_: Request, tmp_path: Path
) -> None:
    again = request_.model_copy(update={"out": tmp_path, "video": False})
    replay(clip, Analyst.load(again.settings()), again, lambda done, of: None)
    for ending in (".txt", ".frames.jsonl", ".events.jsonl"):
        name = f"walkers{ending}"
        assert (tmp_path / name).read_bytes() == (request_.out / name).read_bytes(), ending
    assert outcome.error is None


def test_a_lower_fps_leaves_frames_out_but_the_video_has_them(
    as_stream: Callable[..., tuple[Analyst, Request]], clip: Path, tmp_path: Path
) -> None:
    slower, request = as_stream(fps=3.5)
    outcome = replay(clip, slower, request, lambda done, of: None)
    assert (outcome.frames, outcome.analysed) == (FRAMES, FRAMES // 2)
    assert [line["seq"] for line in lines(tmp_path / "walkers.frames.jsonl")] == list(range(0, FRAMES, 2))
    assert len(pictures(tmp_path / "walkers.annotated.mp4")) == FRAMES


def test_nothing_behind_a_privacy_mask_is_seen_or_shown(
    as_stream: Callable[..., tuple[Analyst, Request]], clip: Path, tmp_path: Path
) -> None:
    left_half = {"polygon": [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]}
    masked, request = as_stream(privacy_masks={"neighbours": left_half})
    replay(clip, masked, request, lambda done, of: None)
    rows = np.loadtxt(tmp_path / "walkers.txt", delimiter=",")
    assert len(rows)
    assert (rows[:, 2] + rows[:, 4] / 2 > 768 * 0.45).all()
    picture = pictures(tmp_path / "walkers.annotated.mp4")[10].to_ndarray(format="bgr24")
    assert np.abs(picture[:480, :300].astype(int) - FILL_VALUE).max() <= 4


def test_objects_have_the_looks_that_the_tracker_compares(
    model: Loaded, clip: Path, data: Path, tmp_path: Path
) -> None:
    reid_file = str(data / "weights" / "osnet_x0_25_msmt17.onnx")
    for reid, width in ((reid_file, 512), ("detector", None)):
        config = written_config(tmp_path, data, gate={"tracker": {"kind": "deepsort", "reid": reid}})
        settings = Request(config=config).settings()
        analyst = Analyst(settings, model) if reid == reid_file else Analyst.load(settings)
        with analyst.open(clip) as recording:
            seen = next(recording.frames)
        assert seen.detections is not None and seen.detections.features is not None
        features = seen.detections.features[seen.detections.scores > 0.25]
        assert features.shape == (features.shape[0], width or features.shape[1])
        assert len(features) >= 3
        assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=0.01)


def test_a_recording_that_ends_in_rubbish_is_told_of_and_what_came_before_is_kept(
    analyst: Analyst, clip: Path, request_: Request, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.h264"
    with av.open(str(clip)) as source, av.open(str(broken), "w", format="h264") as target:
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        for packet in islice(source.demux(video), 10):
            packet.stream = copy
            target.mux(packet)
    start = b"\0\0\0\1"
    with broken.open("ab") as file:
        file.write(b"".join(start + bytes([0x65]) + b"\xff" * 200 for _ in range(300)))
    request = request_.model_copy(update={"out": tmp_path, "video": False})
    outcome = replay(broken, analyst, request, lambda done, of: None)
    assert outcome.code == "source.failed"
    assert outcome.frames >= 10
    assert len(lines(tmp_path / "broken.frames.jsonl")) == outcome.frames
    assert outcome.events["track.started"] == outcome.events["track.ended"] > 0


def test_the_table_says_which_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video\n" * 100)
    done = vigil("replay", tmp_path / "notes.mp4", "--model", "starter")
    assert done.exit_code == 1
    assert "1 of 1 recordings failed" in done.stdout
    assert "[source.failed]" in " ".join(done.stdout.split())


DEADLY = """
import os, signal
from tracking.trackers.bytetrack import ByteTracker

class Deadly(ByteTracker):
    def update(self, detections, frame):
        if frame.seq == 5:
            try:
                os.close(os.open({marker!r}, os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        return super().update(detections, frame)
"""


def test_neither_a_broken_file_nor_one_that_kills_its_process_ends_the_others(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three files in two processes, of which the first to get to its sixth frame dies there."""
    (tmp_path / "deadly.py").write_text(DEADLY.format(marker=str(tmp_path / "died")))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).resolve().parents[2]}")
    config = tmp_path / "vigil.yaml"
    config.write_text(yaml.safe_dump({
        "detector": {"model": "starter", "runtime": "openvino", "image_size": 320},
        "tracker": {"kind": "deadly:Deadly"},
        "streams": {"gate": {"url": "rtsp://10.0.0.9/1"}},
    }))  # fmt: skip
    files = [tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    for file in files:
        file.write_bytes(clip.read_bytes())
    files[1].write_text("no video\n" * 100)
    done = vigil("replay", *files, "-c", config, "--out", tmp_path, "--jsonl", "--jobs", "2", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)["recordings"]
    assert [Path(one["file"]).name for one in told] == ["a.mp4", "b.mp4", "c.mp4"]
    assert (told[1]["code"], told[1]["frames"], told[1]["written"]) == ("source.failed", 0, [])
    dead, well = sorted([told[0], told[2]], key=lambda one: one["error"] is None)
    assert dead["code"] == "replay.crashed"
    assert "SIGKILL" in dead["error"]
    assert (well["error"], well["frames"], len(well["written"])) == (None, FRAMES, 2)
    assert {str(path) for path in tmp_path.glob("*.jsonl*")} == set(well["written"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere.mp4",), "does not exist"),
        (("x.mp4", "--out", "there"), "--mot, --jsonl or --video"),
        (("x.mp4", "--stream", "gate"), "give --config as well"),
        (("x.mp4", "y/x.mp4", "--mot"), "which is for what is seen in x.mp4"),
        (("x.txt", "--mot"), "which is x.txt itself"),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(
    arguments: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "y").mkdir()
    for name in ("x.mp4", "y/x.mp4", "x.txt"):
        (tmp_path / name).touch()
    done = vigil("replay", *arguments)
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())


def test_which_of_several_streams_must_be_said(data: Path, tmp_path: Path) -> None:
    config = written_config(tmp_path, data, gate={}, yard={"fps": 5})
    with pytest.raises(ConfigError, match=r"say which one with --stream [^\n]*\n.*known: gate, yard"):
        Request(config=config).settings()
    with pytest.raises(ConfigError, match=r"is not one of the streams \(got gates\)"):
        Request(config=config, stream="gates").settings()
    assert Request(config=config, stream="yard").settings().source.fps == 5


def test_a_model_that_is_not_there_is_one_error_and_no_summary(clip: Path, tmp_path: Path) -> None:
    request = Request(model=str(tmp_path / "none.onnx"))
    with pytest.raises(ModelError, match="no file"):
        run(request, [clip, clip], 1, lambda file, done, of: None)
    with pytest.raises(DeclinedError, match="no file") as caught:
        side_by_side(request, [clip], 1, lambda file, done, of: None)
    assert caught.value.code == ModelError.code


def test_reading_ahead_goes_so_far_and_no_further() -> None:
    made: list[int] = []

    def items() -> Generator[int, None, None]:
        for number in count():
            made.append(number)
            yield number

    ahead = read_ahead(items(), 3)
    assert next(ahead) == 0
    wait_for("the items that may be made", lambda: len(made) == 5)
    assert [next(ahead), next(ahead)] == [1, 2]
    wait_for("two more", lambda: len(made) == 7)
    before = threading.active_count()
    ahead.close()
    assert len(made) <= 8
    assert threading.active_count() == before - 1


def test_what_fails_in_reading_ahead_fails_after_what_came_before() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        raise OSError("the disk is gone")

    ahead = read_ahead(items(), 3)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)


def test_who_stops_early_leaves_no_thread_behind(analyst: Analyst, clip: Path) -> None:
    before = threading.active_count()
    with analyst.open(clip) as recording:
        first: list[Seen] = list(islice(recording.frames, 3))
    assert [seen.frame.seq for seen in first] == [0, 1, 2]
    assert recording.length == FRAMES
    assert threading.active_count() == before


def test_an_audit_says_how_often_attention_asks_and_what_it_misses(
    as_stream: Callable[..., tuple[Analyst, Request]], clip: Path, outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    analyst, request = as_stream(**PLACES, attention="adaptive")
    audited = replay(clip, analyst, request.model_copy(update={"mot": False, "jsonl": False, "video": False,
                                                               "audit": True}), lambda done, of: None)  # fmt: skip
    assert audited.events == outcome.events  # what is told of the recording is what the detector sees in every frame
    audit = audited.audit
    assert audit is not None
    assert audit["frames"] == FRAMES
    assert 4 <= audit["asked"] < FRAMES
    assert audit["events"] == sum(outcome.events.values())
    assert len(audit["missed"]) <= audit["events"] / 4
    show([audited], as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert f"about {audit['asked']} of {FRAMES} frames" in said
    assert f"{len(audit['missed'])} are missed" in said


def test_an_audit_of_what_misses_nothing_is_refused(data: Path, tmp_path: Path, clip: Path) -> None:
    result = vigil("replay", clip, "-c", written_config(tmp_path, data, gate={}), "--audit")
    assert isinstance(result.exception, ConfigError)
    assert "streams.gate.attention" in str(result.exception)
    assert vigil("replay", clip, "--audit").exit_code == 2
