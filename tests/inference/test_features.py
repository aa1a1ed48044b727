"""The detector's own feature map tells objects apart, for those who want it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save
from prometheus_client import CollectorRegistry

from benchmarks import reid as bench
from inference.config import DetectorConfig
from inference.detections import Detections
from inference.errors import ModelError
from inference.features import Features, unit
from inference.found import Found
from inference.letterbox import Letterbox
from inference.model import STARTER
from inference.pooling import halves, pooled
from inference.runtimes import add_feature_map, auto
from inference.runtimes.openvino import OpenVinoRuntime
from inference.runtimes.openvino_features import head_inputs
from inference.sidecar import sidecar_path
from inference.typical import typical_features
from tests.inference.test_detector_details import Idle
from tracking.reid.model import load_reid, looks
from vigil.detector import load

Grid = NDArray[np.float32]


def runtime(model: Path, **settings: Any) -> OpenVinoRuntime:
    config = DetectorConfig.model_validate({"model": str(model), "image_size": 320, "device": "cpu", **settings})
    return OpenVinoRuntime(model, config)


# -- the map


@pytest.mark.parametrize(
    ("model", "channels"), [("starter", [48, 96, 192]), ("yolox_nano.onnx", [64, 64, 64])], ids=["yolov8", "yolox"]
)
def test_the_maps_that_a_head_looks_at_are_found(
    model: str, channels: list[int], request: pytest.FixtureRequest
) -> None:
    """By the graph: the files name their layers in different ways, or not at all."""
    file = STARTER if model == "starter" else request.getfixturevalue("data") / "weights" / model
    graph = ov.Core().read_model(file)
    graph.reshape([1, 3, 192, 320])
    found = [list(output.get_shape()) for output in head_inputs(graph, 192, 320)]
    assert found == [
        [1, count, 192 // stride, 320 // stride] for count, stride in zip(channels, (8, 16, 32), strict=True)
    ]


def test_boxes_are_the_same_with_the_map_and_without() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (192, 320, 3), np.uint8)
    plain, other = runtime(STARTER, precision="fp32"), runtime(STARTER, precision="fp32")
    add_feature_map(other)
    for one in (plain, other):
        one.prepare(192, 320)
    (raw,), (same, grid) = plain.infer([picture]), other.infer([picture])
    assert np.allclose(raw, same, atol=1e-3)
    assert (grid.shape, grid.dtype) == ((1, 24, 40, 48), np.float32)


def test_a_size_that_was_ready_before_has_the_map_too() -> None:
    one = runtime(STARTER)
    one.prepare(64, 64)
    one.infer([np.zeros((64, 64, 3), np.uint8)])
    add_feature_map(one)
    one.prepare(64, 64)
    assert len(one.infer([np.zeros((64, 64, 3), np.uint8)])) == 2


def test_a_runtime_without_maps_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"tracker\.reid: 'detector' .* toy runs in none; set `detector\.runtime"):
        add_feature_map(Idle(Path(), None))
    config = DetectorConfig(model="starter", runtime="onnx", device="cpu", image_size=320)
    with pytest.raises(ModelError, match="starter runs in onnx"):
        load(config, CollectorRegistry(), tested=True, features=True)


def test_auto_on_a_cpu_is_the_runtime_that_has_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "choose", lambda path, config: pytest.fail("it may choose another"))
    config = DetectorConfig(model="starter", device="cpu", image_size=320)
    assert load(config, CollectorRegistry(), tested=True, features=True).runtime.info.runtime == "openvino"


def test_a_model_without_grids_is_refused_by_name(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.zeros((6, 3, 32, 32), np.float32), "w")
    node = helper.make_node("Conv", ["images", "w"], ["y"], strides=[32, 32])
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "h", "w"])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, "r", "c"])
    file = tmp_path / "one.onnx"
    graph = helper.make_graph([node], "one", [images], [output], [weights])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(file))
    sidecar_path(file).write_text(yaml.safe_dump({"head": "yolo", "names": ["a", "b"]}))
    with pytest.raises(ModelError, match=r"finds no feature map in one\.onnx"):
        add_feature_map(runtime(file))


# -- pooling


def test_halves_are_means_in_deviations_from_the_picture() -> None:
    grid = np.zeros((8, 8, 2), np.float32)
    grid[2:4, 2:4, 0], grid[4:6, 2:4, 0] = 8, 4
    grid[0, 0, 1] = 1
    mean, deviation = grid[..., 0].mean(), grid[..., 0].std()
    (found,) = halves(grid, np.array([[16, 16, 32, 48]], np.float32), np.float32(8))
    upper, lower = found[:2], found[2:]
    assert upper[0] == pytest.approx((8 - mean) / deviation, rel=1e-4)
    assert lower[0] == pytest.approx((4 - mean) / deviation, rel=1e-4)
    assert upper[1] == lower[1] == pytest.approx(-grid[..., 1].mean() / grid[..., 1].std(), rel=1e-4)


coordinate = st.floats(-500, 500, width=32)


@given(st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=6))
def test_any_box_gives_a_row_of_length_one(boxes: list[tuple[float, ...]]) -> None:
    grid = np.random.default_rng(0).random((6, 9, 4), np.float32)
    rows = pooled(grid, np.array(boxes, np.float32).reshape(-1, 4), 8, np.zeros(8, np.float32))
    assert rows.shape == (len(boxes), 8)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_a_grid_of_one_value_gives_numbers() -> None:
    rows = pooled(np.ones((4, 4, 3), np.float32), np.array([[0, 0, 8, 8]], np.float32), 8, np.zeros(6, np.float32))
    assert np.isfinite(rows).all()


def test_rows_of_zeros_stay_so() -> None:
    assert np.array_equal(unit(np.array([[3, 4], [0, 0]], np.float32)), np.array([[0.6, 0.8], [0, 0]], np.float32))


# -- in detections


def test_objects_whose_features_were_dropped_have_zeros() -> None:
    features = unit(np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32))
    rows = np.array([[0, 0, 9, 9, 0.9, 0], [9, 9, 30, 30, 0.8, 1], [3, 3, 9, 9, 0.1, 0]], np.float32)
    found = Found(rows, features=features.astype(np.float16))
    detections = Detections.in_source(found, Letterbox.fit(64, 64, 64))
    assert detections.features is not None
    assert np.allclose(detections.features[:2], features, atol=1e-3)
    assert np.allclose(np.linalg.norm(detections.features[:2], axis=1), 1, atol=1e-6)
    assert not detections.features[2].any()
    assert detections.is_plain, "there is nothing more to tell in messages"


# -- real persons


def apart(features: Features, persons: list[int], pictures: list[int]) -> tuple[float, float, float]:
    """Mean cosine of the same person and of others in another picture, and how often the same one is the likest."""
    alike = features @ features.T
    who, when = np.array(persons), np.array(pictures)
    other_picture = when[:, None] != when[None]
    same = who[:, None] == who[None]
    hits = [
        who[elsewhere[alike[row, elsewhere].argmax()]] == who[row]
        for row in range(len(who))
        if who[row] in who[elsewhere := np.flatnonzero(other_picture[row])]
    ]
    return alike[same & other_picture].mean(), alike[~same & other_picture].mean(), float(np.mean(hits))


def test_the_same_person_is_nearer_than_others_on_real_video(data: Path) -> None:
    """TUD-Stadtmitte, pictures a second apart, boxes of the detector; measured: docs/reid.md."""
    detector = bench.Detector(str(data / "weights/yolov8n.pt"))
    osnet = load_reid(data / "weights/osnet_x0_25_msmt17.onnx", "cpu")
    video, truth_file, second = bench.SEQUENCES["TUD-Stadtmitte"]
    truth = np.loadtxt(data / truth_file, delimiter=",")
    seen = bench.Seen()
    for frame in bench.frames(data / video):
        if frame.seq % second or frame.seq > 4 * second:
            continue
        boxes, _, features = detector.look(frame)
        rows, persons = bench.named(boxes, truth[truth[:, 0] == frame.seq + 1])
        seen.pictures += [frame.seq] * len(rows)
        seen.persons += persons
        seen.features["detector"] += list(features[rows])
        seen.features["reid"] += list(looks(osnet, [(frame, boxes[rows])])[0])
    assert len(seen.persons) > 20
    for source, margin, rank1 in (("detector", 0.1, 0.5), ("reid", 0.25, 0.9)):
        same, different, hits = apart(np.array(seen.features[source]), seen.persons, seen.pictures)
        assert same > different + margin, source
        assert hits >= rank1, source


def test_what_all_objects_share_is_of_the_maps_size() -> None:
    one = runtime(STARTER)
    add_feature_map(one)
    typical = typical_features(one)
    assert (typical.shape, typical.dtype) == ((96,), np.float32)
    assert 0.2 < np.linalg.norm(typical) < 1
