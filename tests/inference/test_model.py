"""Models are found by name and described by what they say of themselves; what is missing is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import Outputs
from inference.input import InputSpec
from inference.model import STARTER, ModelInfo, describe, find_model, weights_hash
from inference.runtimes import RUNTIMES, load_runtime

FILE = Path("toy.onnx")
GOOD = {"task": "detect", "names": "{0: 'person', 1: 'car'}", "stride": "32"}
INFO = ModelInfo("toy", "0" * 16, ("person", "car"), "yolo", InputSpec(), 640, "toy", "cpu", "fp32")


@pytest.fixture
def nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_metadata_says_names_head_and_stride() -> None:
    described = describe(FILE, GOOD)
    assert described.names == ("person", "car")
    assert described.head == "yolo"
    assert described.input == InputSpec(stride=32)


def test_a_model_without_nms_gets_its_own_head() -> None:
    assert describe(FILE, GOOD | {"end2end": "True"}).head == "yolo_end2end"


def test_names_are_ordered_by_their_id() -> None:
    assert describe(FILE, GOOD | {"names": "{1: 'car', 0: 'person'}"}).names == ("person", "car")


@pytest.mark.parametrize(
    ("absent", "said"),
    [(["task"], "its task:"), (["names"], "its names:"), (["stride"], "its stride:"),
     (["task", "names", "stride"], "its task, names, stride:")],
)  # fmt: skip
def test_missing_metadata_is_named(absent: list[str], said: str) -> None:
    metadata = {key: value for key, value in GOOD.items() if key not in absent}
    with pytest.raises(ModelError, match=f"toy.onnx does not say {said} write a sidecar toy.onnx.yaml"):
        describe(FILE, metadata)


def test_a_model_of_another_task_is_refused() -> None:
    with pytest.raises(ModelError, match="toy.onnx is a 'classify' model; only 'detect'"):
        describe(FILE, GOOD | {"task": "classify"})


@pytest.mark.parametrize(
    "wrong", [{"names": "person, car"}, {"names": "{0: 'person', 2: 'car'}"}, {"names": "7"}, {"stride": "many"}]
)
def test_metadata_that_makes_no_sense_is_a_model_error(wrong: dict[str, str]) -> None:
    with pytest.raises(ModelError, match=r"toy\.onnx"):
        describe(FILE, GOOD | wrong)


def test_class_names_become_ids() -> None:
    assert INFO.class_ids(None) is None
    assert INFO.class_ids(["car"]) == [1]
    assert INFO.class_ids([]) == []


def test_an_unknown_class_is_told_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"toy has no class 'zebra'; it knows person, car"):
        INFO.class_ids(["car", "zebra"])


def test_a_model_crosses_json_unchanged() -> None:
    assert ModelInfo.from_json(json.loads(json.dumps(INFO.to_json()))) == INFO


def test_the_hash_is_that_of_the_weights(tmp_path: Path) -> None:
    (tmp_path / "w.onnx").write_bytes(b"weights")
    assert weights_hash(tmp_path / "w.onnx") == hashlib.sha256(b"weights").hexdigest()[:16]


@pytest.mark.parametrize("model", ["nowhere.onnx", "folder/nowhere.pt", "nowhere", "folder/yolo11n.pt"])
@pytest.mark.usefixtures("nothing_cached")
def test_a_model_that_is_nowhere_is_told_with_the_mend(model: str) -> None:
    with pytest.raises(ModelError, match=f"no file '{model}'; give the path of a .pt or .onnx file, or 'starter'"):
        find_model(model)


@pytest.mark.usefixtures("nothing_cached")
def test_a_model_file_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.touch()
    assert find_model(str(path))[0] == path


@pytest.mark.usefixtures("nothing_cached")
def test_the_starter_ships_with_vigil() -> None:
    assert find_model("starter")[0] == STARTER


@pytest.mark.usefixtures("nothing_cached")
def test_auto_takes_the_preferred_model_when_it_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "cache" / "vigil" / "models" / "yolo11n.pt"
    cached.parent.mkdir(parents=True)
    cached.touch()
    monkeypatch.chdir(tmp_path)
    assert find_model("auto")[0] == cached


class ToyRuntime:
    """The smallest runtime: finds nothing, anywhere."""

    parallel, max_batch = 1, 4

    def __init__(self, path: Path, config: DetectorConfig) -> None:
        if not path.suffix:
            raise ModelError(f"{path} has no suffix")
        self.info = ModelInfo(
            path.stem, "0" * 16, ("person",), "yolo", InputSpec(), config.image_size, "toy", "cpu", "fp32"
        )

    def prepare(self, height: int, width: int) -> None:
        self.size = (height, width)

    def infer(self, pictures: Sequence[NDArray[np.uint8]]) -> Outputs:
        return [np.zeros((len(pictures), 5, 0), np.float32)]


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of the user's own that holds a runtime."""
    lines = Path(__file__).read_text().splitlines()
    start = lines.index("class ToyRuntime:")
    end = next(n for n in range(start + 1, len(lines)) if lines[n] and not lines[n].startswith(" "))
    imports = (
        "import numpy as np\nfrom inference.errors import ModelError\n"
        "from inference.input import InputSpec\nfrom inference.model import ModelInfo\n"
    )
    (tmp_path / "users_toys.py").write_text(
        "from __future__ import annotations\n" + imports + "\n".join(lines[start:end])
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return "users_toys"


def test_a_runtime_of_the_users_own_is_loaded_by_module_and_class(toys: str) -> None:
    runtime = load_runtime(Path("mine.onnx"), DetectorConfig(runtime=f"{toys}:ToyRuntime", image_size=320))
    assert (runtime.info.name, runtime.info.image_size) == ("mine", 320)
    runtime.prepare(192, 320)
    assert runtime.infer([np.zeros((192, 320, 3), np.uint8)] * 2)[0].shape == (2, 5, 0)


def test_a_runtimes_own_refusal_is_passed_on(toys: str) -> None:
    with pytest.raises(ModelError, match="has no suffix"):
        load_runtime(Path("mine"), DetectorConfig(runtime=f"{toys}:ToyRuntime"))


def test_an_unknown_runtime_is_told_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=rf"no runtime 'tpu'; use {', '.join(RUNTIMES)}, auto, or module:Class"):
        load_runtime(FILE, DetectorConfig(runtime="tpu"))


@pytest.mark.parametrize("runtime", ["no_such_module:Runtime", "json:NoSuchClass"])
def test_a_runtime_that_cannot_be_imported_is_named(runtime: str) -> None:
    with pytest.raises(ModelError, match=f"{runtime} cannot be loaded"):
        load_runtime(FILE, DetectorConfig(runtime=runtime))
