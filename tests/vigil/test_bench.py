"""`vigil bench` measures a model in every way that there is, says how rightly each sees, and names what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from inference.errors import ModelError
from inference.model import STARTER
from inference.runtimes.auto import CAMERA
from vigil import bench as benching
from vigil.bench import Measured, Way, agreement, bench, photos, ways
from vigil.cli import app

FP32 = Way("cpu", "openvino", "fp32")


def rows(*boxes: tuple[float, ...]) -> Any:
    return np.array(boxes, np.float32).reshape(-1, 6)


PERSON, CAR = (10, 10, 50, 90, 0.8, 0), (60, 10, 90, 40, 0.6, 2)


@pytest.mark.parametrize(
    ("seen", "found", "drift"),
    [
        (rows(PERSON, CAR), 1.0, 0.0),
        (rows((11, 10, 50, 90, 0.7, 0)), 0.5, 0.1),
        (rows((10, 10, 50, 90, 0.8, 2)), 0.0, None),  # of another class
        (rows(PERSON, PERSON), 0.5, 0.0),  # one box is not found twice
        (rows(), 0.0, None),
    ],
)
def test_agreement_is_about_the_same_boxes(seen: Any, found: float, drift: float | None) -> None:
    assert agreement([seen, rows()], [rows(PERSON, CAR), rows()]) == (found, pytest.approx(drift))


def test_one_box_is_found_once_only() -> None:
    assert agreement([rows(PERSON)], [rows(PERSON, PERSON)])[0] == 0.5


def test_where_there_is_nothing_to_see_nothing_is_said() -> None:
    assert agreement([rows(PERSON)], [rows()]) == (None, None)


def test_pictures_have_the_shape_of_a_cameras(tmp_path: Path) -> None:
    for name, size in {"tall": (300, 100), "wide": (100, 300)}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((*size, 3), 200, np.uint8))
    (tmp_path / "no.png").write_bytes(b"no picture")
    across, down = CAMERA
    assert [picture.shape[1] / picture.shape[0] for picture in photos(tmp_path)] == pytest.approx(
        [across / down] * 2, rel=0.01
    )
    with pytest.raises(ModelError, match="no pictures"):
        photos(tmp_path / "empty")


def test_each_way_is_measured_once_and_what_cannot_be_is_named() -> None:
    told: list[str] = []
    nonsense = Way("cpu", "onnx", "bf16")
    same = Way("cpu", "openvino", "fp32")
    fp32, refused = bench("starter", [320], None, 0.2, told.append, [FP32, nonsense, same])
    assert isinstance(fp32, Measured)
    assert (fp32.input, fp32.precision, fp32.found, fp32.score_drift) == ("320x192", "fp32", 1.0, 0.0)
    assert fp32.fps > 0
    assert fp32.p50_ms <= fp32.p99_ms
    assert isinstance(refused, benching.Refused)
    assert refused.way == nonsense
    assert refused.why
    assert len(told) == 3


def test_int8_is_tried_where_there_are_pictures_to_quantise_on() -> None:
    server = "triton://host:8001/yolo"
    assert [way.precision for way in ways("starter", STARTER, quantises=False)].count("int8") == 0
    assert ways(server, Path(server), quantises=True) == [Way("auto", "triton", "auto")]


def test_the_command_tells_of_all_and_fails_where_nothing_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def only(way: Way) -> None:
        monkeypatch.setattr(benching, "ways", lambda model, file, quantises: [way])

    arguments = ["bench", "--model", "starter", "--image-size", "320", "--seconds", "0.2"]
    only(FP32)
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert "320x192" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert [one["precision"] for one in told["measured"]] == ["fp32"]
    assert told["refused"] == []
    only(Way("cpu", "onnx", "bf16"))
    failed = CliRunner().invoke(app, [*arguments, "--json"])
    assert failed.exit_code == 1
    (refused,) = json.loads(failed.stdout)["refused"]
    assert (refused["model"], refused["ways"]) == ("starter.onnx", ["onnx bf16"])
    unfit = CliRunner().invoke(app, ["bench", "--image-size", "330"])
    assert unfit.exit_code == 2
