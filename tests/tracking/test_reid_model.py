"""A ReID model sees what is in the boxes, behind the privacy masks, and says the same wherever it computes."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from inference import openvino_floats
from ingest.clock import Clock
from ingest.frame import Frame
from ingest.privacy import PrivacyMasks
from tracking.reid.model import cut, load_reid, looks
from tracking.reid.onnx import OnnxReid
from tracking.reid.onnx_file import ReidError, ReidShape, read_shape

Picture = NDArray[np.uint8]


def frame(picture: Picture, masks: PrivacyMasks | None = None) -> Frame:
    image = av.VideoFrame.from_ndarray(picture, format="bgr24")
    return Frame("", 0, 0, 0, 0, 0, Clock.ARRIVAL, None, image, masks)


def noise(seed: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 255, (240, 320, 3), np.uint8)


def test_crops_are_the_boxes_stretched() -> None:
    picture = noise(0)
    crops = np.empty((2, 64, 32, 3), np.uint8)
    cut(picture, np.array([[10, 20, 50, 100], [0, 0, 320, 240]], np.float32), crops)
    assert np.array_equal(crops[0], cv2.resize(picture[20:100, 10:50], (32, 64)))
    assert np.array_equal(crops[1], cv2.resize(picture, (32, 64)))


@pytest.mark.parametrize("box", [[-5, -5, 3, 3], [318, 238, 400, 400], [100, 100, 100, 100], [319.9, 10, 320, 50]])
def test_boxes_at_the_edge_and_of_no_size_have_crops(box: list[float]) -> None:
    crops = np.full((1, 16, 8, 3), 7, np.uint8)
    cut(np.full((240, 320, 3), 200, np.uint8), np.array([box], np.float32), crops)
    assert (crops == 200).all()


@pytest.fixture(scope="module")
def osnet(data: Path) -> Path:
    return data / "weights/osnet_x0_25_msmt17.onnx"


def test_both_runtimes_say_the_same(osnet: Path) -> None:
    """OpenVINO computes in bf16 where the CPU can."""
    openvino, onnx = load_reid(osnet, "cpu"), OnnxReid(osnet, read_shape(osnet), "cpu")
    crops = np.stack([cv2.resize(noise(seed)[:64, :32], (128, 256)) for seed in range(5)])
    ours, theirs = openvino.embed(crops), onnx.embed(crops)
    assert ours.shape == theirs.shape == (5, 512)
    cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert (cosines > 0.99).all()


def test_it_is_computed_in_what_is_faster_here(osnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(openvino_floats, "in_question", lambda core: True)

    def chosen() -> list[str]:
        with capture_logs() as logs:
            load_reid(osnet, "cpu")
        return [line["model"] for line in logs if line["event"] == "number format chosen"]

    assert [chosen(), chosen()] == [[osnet.name], []]


def test_frames_of_several_streams_are_told_apart_again(osnet: Path) -> None:
    model = load_reid(osnet, "cpu")
    boxes = np.array([[0, 0, 60, 120], [100, 50, 160, 200]], np.float32)
    together = looks(model, [(frame(noise(1)), boxes), (frame(noise(2)), boxes[:0]), (frame(noise(3)), boxes[1:])])
    assert [rows.shape for rows in together] == [(2, 512), (0, 512), (1, 512)]
    assert np.allclose(np.linalg.norm(np.concatenate(together), axis=1), 1, atol=1e-5)
    (alone,) = looks(model, [(frame(noise(3)), boxes[1:])])
    assert np.allclose(together[2], alone, atol=1e-3)


def test_what_is_behind_a_privacy_mask_has_no_part_in_features(osnet: Path) -> None:
    masks = PrivacyMasks([[(0, 0), (0.5, 0), (0.5, 1), (0, 1)]])
    model = load_reid(osnet, "cpu")
    ours, other = noise(1), noise(1)
    other[:, :150] = noise(2)[:, :150]
    box = np.array([[20, 20, 140, 200]], np.float32)
    masked = [looks(model, [(frame(one, masks), box)])[0] for one in (ours, other)]
    plain = [looks(model, [(frame(one), box)])[0] for one in (ours, other)]
    assert np.array_equal(*masked)
    assert not np.array_equal(*plain)


def test_a_file_whose_weights_are_damaged_is_refused(osnet: Path, tmp_path: Path) -> None:
    """What says the shape is intact, but no runtime can use the rest."""
    damaged = tmp_path / "damaged.onnx"
    content = osnet.read_bytes()
    damaged.write_bytes(content.replace(b"GlobalAveragePool", b"GlobalAveragePoox"))
    assert read_shape(damaged) == ReidShape("images", 256, 128, 512)
    with pytest.raises(ReidError, match="OpenVINO cannot use"):
        load_reid(damaged, "cpu")


def test_a_gpu_that_is_not_there_leaves_it_to_the_cpu(osnet: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ReidError, match="no CUDA"):
        OnnxReid(osnet, read_shape(osnet), "cuda:0")
    assert load_reid(osnet, "cuda:0").device == "cpu"
