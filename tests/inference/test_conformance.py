"""What every runtime promises, held to by all that can run here: the table's, and the one in docs/runtimes.md."""

from __future__ import annotations

import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import load_head
from inference.letterbox import Letterbox
from inference.model import STARTER, weights_hash
from inference.runtimes import RUNTIMES, Runtime, load_runtime
from inference.sidecar import sidecar_path
from ingest.scene import photo_path
from tests.inference.kserve import Servicer, serve

IMAGE_SIZE = 320
DOCS = Path(__file__).resolve().parents[2] / "docs" / "runtimes.md"
NEEDS_A_GPU = {"tensorrt"}

Pictures = list[NDArray[np.uint8]]


def at_fp32(runtime: str, path: Path) -> Runtime:
    device = "auto" if runtime in ("triton",) else "cpu"
    return load_runtime(path, DetectorConfig.model_validate({
        "model": str(path) if runtime == "triton" else "auto", "runtime": runtime, "device": device,
        "precision": "fp32", "image_size": IMAGE_SIZE,
    }))  # fmt: skip


@dataclass
class Case:
    """A runtime with a model loaded, and OpenVINO with the same one."""

    name: str
    path: Path
    runtime: Runtime
    reference: Runtime
    load: Callable[[Path], Runtime]


@pytest.fixture(scope="module")
def documented() -> Iterator[str]:
    """The runtime in the docs, as a module of the user's own."""
    (code,) = re.findall(r"```python\n(# my_runtimes.py.*?)```", DOCS.read_text(), re.DOTALL)
    module = ModuleType("my_runtimes")
    exec(code, module.__dict__)
    sys.modules["my_runtimes"] = module
    yield "my_runtimes:AnyDevice"
    del sys.modules["my_runtimes"]


CASES = [("openvino", "starter.onnx"), ("onnx", "starter.onnx"), ("triton", "starter.onnx"),
         ("documented", "starter.onnx"), ("openvino", "yolov8n.pt"), ("torch", "yolov8n.pt"),
         ("onnx", "yolov8n.pt")]  # fmt: skip


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    name, file = request.param
    path = original = STARTER
    if file == "yolov8n.pt":
        path = original = request.getfixturevalue("data") / "weights" / file
        if name == "onnx":
            path = exported(original, tmp_path_factory.mktemp("exported"))
    reference = at_fp32("openvino", original)
    target = request.getfixturevalue("documented") if name == "documented" else name
    if name != "triton":
        yield Case(name, path, at_fp32(target, path), reference, lambda file: at_fp32(target, file))
        return
    server, port = serve(Servicer(STARTER))

    def served(file: Path) -> Runtime:
        return load_runtime(file, DetectorConfig.model_validate({
            "model": f"triton://127.0.0.1:{port}/{file.stem}", "runtime": "triton", "image_size": IMAGE_SIZE,
        }))  # fmt: skip

    yield Case(name, path, served(path), reference, served)
    server.stop(0)


def exported(weights: Path, folder: Path) -> Path:
    """Ultralytics weights as an ONNX file with a sidecar."""
    from inference.runtimes.torch_export import exported as export

    path, metadata = export(weights, weights_hash(weights), "fp32")
    copy = Path(shutil.copy(path, folder / "yolov8n.onnx"))
    names = list(yaml.safe_load(metadata["names"]).values())
    sidecar_path(copy).write_text(yaml.safe_dump({"head": "yolo", "names": names}))
    return copy


def slot(photo: str, image_size: int) -> NDArray[np.uint8]:
    """A photograph as a camera's frame reaches the detector."""
    picture = cv2.imread(str(photo_path(photo)))
    assert picture is not None
    box = Letterbox.fit(picture.shape[1], picture.shape[0], image_size)
    made = np.empty((box.height, box.width, 3), np.uint8)
    box.apply(picture, made)
    return made


PHOTOS = [("bus.jpg", 320), ("zidane.jpg", 320), ("zidane.jpg", 224)]


def alike(ours: list[NDArray[np.float32]], theirs: list[NDArray[np.float32]]) -> bool:
    """At fp32: scores to 0.001, coordinates to a twentieth of a pixel."""
    return len(ours) == len(theirs) and all(
        a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-3, atol=0.05))
        and bool(np.allclose(a[4:], b[4:], atol=1e-3))
        for a, b in zip(ours, theirs, strict=True)
    )  # fmt: skip


def test_it_computes_what_openvino_computes(case: Case) -> None:
    for photo, image_size in PHOTOS:
        picture = slot(photo, image_size)
        for runtime in (case.runtime, case.reference):
            runtime.prepare(*picture.shape[:2])
        before = picture.copy()
        outputs = case.runtime.infer([picture])
        assert all(output.dtype == np.float32 and output.shape[0] == 1 for output in outputs)
        assert alike([output[0] for output in outputs], [output[0] for output in case.reference.infer([picture])])
        assert (picture == before).all()


def test_its_head_sees_the_same_things(case: Case) -> None:
    picture = slot("bus.jpg", 320)
    found = []
    for runtime in (case.runtime, case.reference):
        runtime.prepare(*picture.shape[:2])
        rows = (
            load_head(runtime.info, 0.3, 0.7, None, 300)
            .decode([output[0] for output in runtime.infer([picture])], *picture.shape[:2])
            .rows
        )
        found.append(rows[np.argsort(-rows[:, 4])])
    assert len(found[0]) >= 4
    np.testing.assert_allclose(found[0], found[1], atol=0.1)
    assert "person" in {case.runtime.info.names[int(row[5])] for row in found[0]}


def test_a_batch_is_computed_as_its_pictures_are(case: Case) -> None:
    first, second = slot("zidane.jpg", 320), slot("zidane.jpg", 320)[:, ::-1].copy()
    case.runtime.prepare(*first.shape[:2])
    pictures = [first, second] * case.runtime.max_batch
    for size in {1, 2, case.runtime.max_batch}:
        if size > case.runtime.max_batch:
            continue
        batch = [output.copy() for output in case.runtime.infer(pictures[:size])]
        assert {len(output) for output in batch} == {size}
        for index in range(size):
            alone = [output[0] for output in case.runtime.infer([pictures[index]])]
            assert alike([output[index] for output in batch], alone)


def test_as_many_threads_as_it_allows_do_not_disturb_each_other(case: Case) -> None:
    sizes = [(160, 160), (160, 224)]
    for size in sizes:
        case.runtime.prepare(*size)
        case.reference.prepare(*size)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (*sizes[index % 2], 3), dtype=np.uint8) for index in range(case.runtime.parallel)]
    expected = [[output[0].copy() for output in case.reference.infer([picture])] for picture in pictures]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(5):
            if not alike([output[0] for output in case.runtime.infer([pictures[index]])], expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_says_what_it_is(case: Case) -> None:
    info, reference = case.runtime.info, case.reference.info
    assert (info.names, info.head, info.input) == (reference.names, reference.head, reference.input)
    assert (info.image_size, info.precision) == (IMAGE_SIZE, "fp32")
    assert info.runtime == {"documented": "any"}.get(case.name, case.name)
    assert re.fullmatch("[0-9a-f]{16}", info.hash)
    if case.name != "triton":
        assert info.hash == weights_hash(case.path)
    assert case.runtime.parallel >= 1
    assert case.runtime.max_batch >= 1


def test_a_file_that_is_not_there_is_a_model_error(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        case.load(tmp_path / f"nowhere{case.path.suffix}")


def test_garbage_is_a_model_error(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"garbage{case.path.suffix}"
    path.write_bytes(b"no model" * 100)
    with pytest.raises(ModelError, match="garbage"):
        case.load(path)


def test_no_runtime_is_forgotten() -> None:
    assert {name for name, _ in CASES} | NEEDS_A_GPU == set(RUNTIMES) | {"documented"}
    text = DOCS.read_text()
    assert all(f"| `{name}` |" in text for name in RUNTIMES)


def test_the_documented_runtime_is_short(documented: str) -> None:
    (code,) = re.findall(r"```python\n(# my_runtimes.py.*?)```", DOCS.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20


def test_the_documented_configs_are_valid() -> None:
    configs = [
        yaml.safe_load(text)["detector"] for text in re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    ]
    assert [DetectorConfig.model_validate(config).precision for config in configs] == ["int8", "auto"]
