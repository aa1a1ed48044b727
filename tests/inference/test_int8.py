"""A model is quantised on the user's pictures, once, and still sees what it saw."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from inference.calibration import MOST_PICTURES, Calibration
from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import load_head
from inference.input import InputSpec
from inference.letterbox import Letterbox
from inference.model import STARTER
from inference.runtimes import Runtime, load_runtime, openvino_int8
from ingest.scene import photo_path

SIZE = 416


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with crops of two photographs."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("bus.jpg", "zidane.jpg"):
        photo = cv2.imread(str(photo_path(name)))
        assert photo is not None
        for part in range(4):
            cv2.imwrite(str(folder / f"{part}-{name}"), photo[part * 40 :, part * 30 :])
    return folder


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "vigil" / "models"  # type: ignore[misc]


def load(precision: str, calibration: Path | None = None, path: Path = STARTER) -> Runtime:
    return load_runtime(path, DetectorConfig.model_validate({
        "runtime": "openvino", "device": "cpu", "precision": precision, "calibration": calibration, "image_size": SIZE,
    }))  # fmt: skip


def seen(runtime: Runtime, name: str) -> NDArray[np.float32]:
    """Boxes with a score of 0.4 or more, sorted by score."""
    photo = cv2.imread(str(photo_path(name)))
    assert photo is not None
    box = Letterbox.fit(photo.shape[1], photo.shape[0], SIZE)
    slot = np.empty((box.height, box.width, 3), np.uint8)
    box.apply(photo, slot)  # type: ignore[arg-type]
    runtime.prepare(box.height, box.width)
    rows = (
        load_head(runtime.info, 0.4, 0.7, None, 300)
        .decode([output[0] for output in runtime.infer([slot])], box.height, box.width)
        .rows
    )
    return rows[np.argsort(-rows[:, 4])]


@pytest.fixture(scope="module")
def both(pictures: Path, cache: Path) -> tuple[Runtime, Runtime]:
    """The floating model and the quantised one."""
    assert not list(cache.glob("*int8*"))
    return load("fp32"), load("int8", pictures)


@pytest.mark.parametrize("photo", ["bus.jpg", "zidane.jpg"])
def test_a_quantised_model_sees_what_the_floating_one_sees(both: tuple[Runtime, Runtime], photo: str) -> None:
    floating, quantised = both
    assert (floating.info.precision, quantised.info.precision) == ("fp32", "int8")
    assert (quantised.info.hash, quantised.info.names) == (floating.info.hash, floating.info.names)
    expected, found = seen(floating, photo), seen(quantised, photo)
    assert len(expected) >= 2
    for row in expected:
        twins = found[(found[:, 5] == row[5]) & (np.abs(found[:, :4] - row[:4]).max(axis=1) < 8)]
        assert len(twins), f"{row} is not among {found}"
        assert np.abs(twins[:, 4] - row[4]).min() < 0.1
    assert np.abs(found[:, 4].max() - expected[:, 4].max()) > 1e-6  # it is another model


def test_quantising_happens_once_for_the_same_pictures(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here "quantised" is the model itself: what counts is when it is done."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done: list[int] = []

    def quantise(model: ov.Model, inputs: list[NDArray[np.float32]]) -> ov.Model:
        done.append(len(inputs))
        return model

    monkeypatch.setattr(openvino_int8, "_quantised", quantise)
    load("int8", pictures)
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, file in enumerate(sorted(pictures.iterdir())):
        (renamed / f"{number}.jpg").write_bytes(file.read_bytes())
    load("int8", renamed)
    assert done == [8]
    (renamed / "0.jpg").unlink()
    load("int8", renamed)
    assert done == [8, 7]
    assert len(list((tmp_path / "cache" / "vigil" / "models").glob("*int8*.xml"))) == 2


def test_a_quantised_file_needs_no_pictures(pictures: Path, tmp_path: Path) -> None:
    quant = pytest.importorskip("onnxruntime.quantization")
    inputs = iter([{"images": blob} for blob in islice(Calibration(pictures).inputs(160, InputSpec()), 2)])

    class Reader(quant.CalibrationDataReader):  # type: ignore[name-defined,misc]
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(inputs, None)

    path = tmp_path / "quantised.onnx"
    quant.quantize_static(
        STARTER, path, Reader(), quant.QuantFormat.QDQ, op_types_to_quantize=["Conv"],
        activation_type=quant.QuantType.QInt8, extra_options={"ActivationSymmetric": True},
    )  # fmt: skip
    assert load("int8", path=path).info.precision == "int8"
    # What is quantised stays so, whatever the rest is computed in.
    assert load("fp32", path=path).info.precision == "int8"


def test_int8_without_pictures_is_refused() -> None:
    with pytest.raises(ModelError, match=r"starter.onnx is not quantised.*set detector.calibration to a folder"):
        load("int8")


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ModelError, match=r"detector.calibration: .* has no pictures \(.bmp, .jpeg, .jpg"):
        load("int8", tmp_path)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(ModelError, match=r"broken.jpg cannot be read as a picture; remove or replace it"):
        load("int8", tmp_path)


def test_of_many_pictures_some_are_taken_from_everywhere(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number:04}.jpg").touch()
    numbers = [int(file.stem) for file in Calibration(tmp_path).files]
    assert len(numbers) == MOST_PICTURES
    assert (numbers[0], numbers[-1]) == (0, 999)
    assert set(np.diff(numbers)) <= {7, 8}


@pytest.mark.parametrize("spec", [InputSpec(), InputSpec(color="bgr", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))])
def test_calibration_feeds_what_cameras_feed(pictures: Path, spec: InputSpec) -> None:
    for blob, file in zip(Calibration(pictures).inputs(320, spec), sorted(pictures.iterdir()), strict=True):
        picture = cv2.imread(str(file))
        assert picture is not None
        height, width = picture.shape[:2]
        assert max(blob.shape[2:]) == 320
        assert blob.shape[2] % 32 == blob.shape[3] % 32 == 0
        assert (blob.shape[2] > blob.shape[3]) == (height > width)
        # The middle of the picture is the middle of the input, in the model's channel order and range.
        around = picture[height // 2 - 40 : height // 2 + 40, width // 2 - 40 : width // 2 + 40]
        colour = around.mean(axis=(0, 1)) / 255
        if spec.color == "rgb":
            colour = colour[::-1]
        y, x, r = blob.shape[2] // 2, blob.shape[3] // 2, round(40 * 320 / max(height, width))
        ours = blob[0, :, y - r : y + r, x - r : x + r].mean(axis=(1, 2))
        np.testing.assert_allclose(ours, (colour - spec.mean) / spec.std, atol=0.15)
