"""`vigil run` with models other than plain detectors that describe themselves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import onnx
import pytest
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inference.masks import Mask
from tests.e2e.real import Inbox, Running

ROOT = Path(__file__).resolve().parents[2]
DARK = 0.4  # of a picture's brightness, 0 to 1


@pytest.fixture
def yolox(data: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of the model, and the sidecar that docs/models.md shows for it."""
    shown = (ROOT / "docs/models.md").read_text().split("### YOLOX\n")[1].split("```yaml\n")[1].split("```")[0]
    return Path(shutil.copy(data / "weights" / "yolox_nano.onnx", tmp_path)), yaml.safe_load(shown)


def config(model: Path, sidecar: dict[str, Any], data: Path) -> dict[str, Any]:
    model.with_name(f"{model.name}.yaml").write_text(yaml.safe_dump(sidecar))
    stream = {"url": str(data / "videos" / "pedestrian-crowd.avi"), "pace": "fast", "on_full": "block", "fps": 1}
    return {"streams": {"crowd": stream}, "detector": {"model": str(model), "confidence": 0.3}}


def test_a_yolox_file_finds_the_people_of_a_crowd(
    run_to_its_end: Callable[[dict[str, Any]], tuple[Running, Inbox]], data: Path, yolox: tuple[Path, dict[str, Any]]
) -> None:
    _, inbox = run_to_its_end(config(*yolox, data))
    frames = inbox.of("crowd")
    assert len(frames) >= 5
    for frame in frames:
        people = [seen for seen in frame["objects"] if seen["class_name"] == "person"]
        assert 20 <= len(people) <= 60  # some 22 to 36 are in view
        assert all(0 <= seen["confidence"] < 1 for seen in people)
        assert set(people[0]) == {"track_id", "class_id", "class_name", "confidence", "box"}
        heights = [seen["box"][3] - seen["box"][1] for seen in people]
        assert 20 < sum(heights) / len(heights) < 250
    assert any(event["type"] == "track.started" and event["class_name"] == "person" for event in inbox.events)


def bright_places(path: Path) -> None:
    """A network that sees two things, wherever they are not dark; it describes itself as Ultralytics' exports do."""
    things = np.array([[80, 220], [100, 150], [60, 100], [80, 90], [0.9, 0.8], [1, 1]], np.float32)
    brightness = [
        helper.make_node("ReduceMean", ["images"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Sub", ["pooled", "dark"], ["prototypes"]),
        helper.make_node("Identity", ["things"], ["objects"]),
    ]
    graph = helper.make_graph(
        brightness, "bright", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("objects", TensorProto.FLOAT, [1, *things.shape]),
         helper.make_tensor_value_info("prototypes", TensorProto.FLOAT, [1, 1, "rows", "columns"])],
        [numpy_helper.from_array(things[None], "things"), numpy_helper.from_array(np.float32(DARK), "dark")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"task": "segment", "names": "{0: 'thing'}", "stride": "32"})
    onnx.save(model, str(path))


def brightness(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the network sees it, 0 to 1: a quarter as fine as the picture."""
    grey = picture.mean(axis=2, dtype=np.float32) / 255
    pooled = cv2.resize(grey, None, fx=1 / 4, fy=1 / 4, interpolation=cv2.INTER_AREA)
    return cv2.resize(pooled, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def test_masks_reach_subscribers_in_source_pixels(
    run_to_its_end: Callable[[dict[str, Any]], tuple[Running, Inbox]], street: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "bright.onnx"
    bright_places(weights)
    stream = {"url": str(street), "pace": "fast", "on_full": "block", "fps": 2}
    detector = {"model": str(weights), "runtime": "openvino", "image_size": 320}
    _, inbox = run_to_its_end({"streams": {"a": stream}, "detector": detector})
    with av.open(str(street)) as container:
        film = [brightness(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    seen = [(frame["seq"], one) for frame in inbox.of("a") for one in frame["objects"]]
    assert len(seen) >= 20
    for seq, one in seen:
        assert one["mask"]["size"] == [240, 320]
        mask = Mask(240, 320, one["mask"]["counts"]).decode()
        lines, columns = np.nonzero(mask)
        x1, y1, x2, y2 = one["box"]
        assert x1 - 1.5 <= columns.min() <= columns.max() <= x2 + 1.5
        assert y1 - 1.5 <= lines.min() <= lines.max() <= y2 + 1.5
        inside = np.s_[round(y1) : round(y2), round(x1) : round(x2)]
        assert (mask[inside].astype(bool) == (film[seq][inside] > DARK)).mean() > 0.95
