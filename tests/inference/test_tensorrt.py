"""The TensorRT runtime without a GPU: what it builds, keeps and refuses.

TensorRT and CUDA are absent here. Their place is taken by a stand-in with the calls that the runtime makes, whose
engines ONNX Runtime computes in the buffers that they are given; it says nothing about TensorRT itself.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import enum
import pickle
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.input import InputSpec
from inference.model import STARTER, weights_hash
from inference.runtimes import load_runtime, tensorrt, torch_export
from inference.runtimes.tensorrt import TensorRtRuntime
from inference.runtimes.tensorrt_engine import Gpu, Profile, engine_path
from inference.runtimes.torch_export import exported
from tests.inference.kserve import session_of

GPU = Gpu("NVIDIA L4", (8, 9))
# Of a file's outputs for an input's shape, which TensorRT knows without computing.
SHAPES: dict[tuple[str, tuple[int, ...]], list[tuple[int, ...]]] = {}
TYPES = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF"}


def config(**settings: Any) -> DetectorConfig:
    return DetectorConfig.model_validate({"runtime": "tensorrt", "image_size": 320, "device": "cuda", **settings})


# -- what an engine is for


@pytest.mark.parametrize(
    ("image_size", "spec", "batch", "low", "best", "high"),
    [
        (640, InputSpec(), None, (1, 3, 128, 128), (8, 3, 384, 640), (16, 3, 640, 640)),
        (640, InputSpec(), 4, (1, 3, 128, 128), (4, 3, 384, 640), (4, 3, 640, 640)),
        (1280, InputSpec(stride=64), 1, (1, 3, 256, 256), (1, 3, 768, 1280), (1, 3, 1280, 1280)),
        # The size that a start tries must be in it, however small the pictures are.
        (64, InputSpec(), None, (1, 3, 64, 64), (8, 3, 64, 64), (16, 3, 320, 320)),
        (640, InputSpec(fixed=(480, 640)), None, (1, 3, 480, 640), (8, 3, 480, 640), (16, 3, 480, 640)),
        (640, InputSpec(fit="stretch"), 1, (1, 3, 128, 128), (1, 3, 640, 640), (1, 3, 640, 640)),
    ],
)
def test_one_profile_serves_all_cameras_of_an_image_size(
    image_size: int, spec: InputSpec, batch: int | None, low: Any, best: Any, high: Any
) -> None:
    profile = Profile.choose(image_size, spec, batch)
    assert profile.high == high
    assert profile.low == low
    assert profile.best == best
    assert all(a <= b <= c for a, b, c in zip(profile.low, profile.best, profile.high, strict=True))


@pytest.mark.parametrize(
    ("shape", "takes"),
    [((1, 128, 128), True), ((16, 640, 640), True), ((17, 640, 640), False), ((0, 640, 640), False),
     ((1, 96, 640), False), ((1, 640, 672), False)],
)  # fmt: skip
def test_a_profile_knows_what_it_takes(shape: tuple[int, int, int], takes: bool) -> None:
    assert Profile.choose(640, InputSpec()).takes(*shape) is takes


def test_an_engine_is_kept_by_all_that_it_depends_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    profile = Profile.choose(640, InputSpec())
    settings: dict[str, Any] = {
        "stem": "m", "digest": "0" * 16, "gpu": GPU, "version": "10.9", "precision": "fp16", "profile": profile,
    }  # fmt: skip
    changes = [
        {"digest": "1" * 16}, {"gpu": Gpu("NVIDIA L40", (8, 9))}, {"gpu": Gpu("NVIDIA L4", (9, 0))},
        {"version": "10.10"}, {"precision": "fp32"}, {"profile": Profile.choose(640, InputSpec(), 4)},
        {"profile": Profile.choose(1280, InputSpec())},
    ]  # fmt: skip
    names = [engine_path(**{**settings, **change}) for change in [{}, *changes]]
    assert len(set(names)) == len(names)
    assert engine_path(**settings) == names[0]


# -- exported weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of Ultralytics' with untrained weights."""
    from ultralytics import YOLO

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "yolov8n.pt"
    YOLO("yolov8n.yaml").save(str(path))
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where exported files are kept, for several tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(("precision", "kind"), [("fp32", np.float32), ("fp16", np.float16)])
def test_exported_weights_compute_what_pytorch_computes_at_any_size_and_batch(
    weights: Path, precision: str, kind: Any, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    onnx, metadata = exported(weights, weights_hash(weights), precision)
    assert (metadata["task"], metadata["stride"], metadata["end2end"]) == ("detect", "32", "False")
    session = session_of(onnx)
    reference = load_runtime(weights, DetectorConfig(runtime="torch", device="cpu", precision="fp32"))
    rng = np.random.default_rng(0)
    for batch, height, width in [(1, 128, 160), (3, 192, 128)]:
        pictures = rng.integers(0, 255, (batch, height, width, 3), dtype=np.uint8)
        (ours,) = session.run(None, {"images": InputSpec().blob(list(pictures)).astype(kind)})
        assert ours.dtype == np.float32
        for found, picture in zip(ours, pictures, strict=True):
            (expected,) = reference.infer([picture])
            np.testing.assert_allclose(found, expected[0], atol=0.02 if precision == "fp32" else 0.3)


def test_weights_are_exported_once(weights: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    first, said = exported(weights, weights_hash(weights), "fp32")
    made = first.stat().st_mtime_ns
    assert exported(weights, weights_hash(weights), "fp32") == (first, said)
    assert first.stat().st_mtime_ns == made
    assert {file.suffix for file in first.parent.iterdir()} == {".onnx", ".json"}


def test_without_onnx_nothing_can_be_exported(weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch_export, "find_spec", lambda module: None)
    with pytest.raises(ModelError, match=r"yolov8n.pt has to be exported.*pip install 'vigil-video\[tensorrt\]'"):
        exported(weights, weights_hash(weights), "fp32")


# -- the runtime, on a stand-in


def _enum(name: str, *members: str) -> Any:
    return enum.IntEnum(name, list(members), start=0)


class StandIn:
    """The part of TensorRT's Python API that the runtime calls."""

    __version__ = "10.9.0"
    DataType = _enum("DataType", "FLOAT", "HALF", "BF16", "INT8", "INT32", "INT64", "UINT8", "BOOL")
    LayerType = _enum("LayerType", "CONVOLUTION", "QUANTIZE")
    TensorIOMode = _enum("TensorIOMode", "NONE", "INPUT", "OUTPUT")
    NetworkDefinitionCreationFlag = _enum("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH", "STRONGLY_TYPED")
    MemoryPoolType = _enum("MemoryPoolType", "WORKSPACE")
    builds, broken = 0, ""

    def __init__(self, version: int = 10) -> None:
        flags = ("FP16", "BF16", "INT8") if version == 10 else ()
        self.BuilderFlag = _enum("BuilderFlag", "TF32", *flags)
        self.flags: list[Any] = []
        self.layers = [self.LayerType.CONVOLUTION]
        self.shapes: tuple[Any, ...] = ()
        self.typed = False

    class Logger:
        WARNING = 2

        def __init__(self, level: int) -> None: ...

    def Builder(self, logger: Any) -> Any:  # noqa: N802
        def build(network: Any, settings: Any) -> bytes | None:
            self.builds += 1
            return None if self.broken == "build" else pickle.dumps((str(network.file), self.shapes))

        def create_network(flags: int) -> Any:
            self.typed = bool(flags >> 1 & 1)
            return SimpleNamespace()

        return SimpleNamespace(
            create_builder_config=lambda: SimpleNamespace(
                set_memory_pool_limit=lambda pool, size: None, set_flag=self.flags.append,
                add_optimization_profile=lambda profile: 0,
            ),
            create_network=create_network,
            create_optimization_profile=lambda: SimpleNamespace(
                set_shape=lambda name, low, best, high: setattr(self, "shapes", (name, low, best, high))
            ),
            build_serialized_network=build,
        )  # fmt: skip

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        def parse(file: str) -> bool:
            if self.broken == "parse":
                return False
            session = session_of(file)
            (tensor,) = session.get_inputs()
            shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
            kind = self.DataType[TYPES[tensor.type]]
            network.file, network.num_inputs, network.num_layers = file, 1, len(self.layers)
            network.get_input = lambda index: SimpleNamespace(shape=shape, dtype=kind, name=tensor.name)
            network.get_layer = lambda index: SimpleNamespace(type=self.layers[index])
            return True

        return SimpleNamespace(
            parse_from_file=parse, num_errors=1, get_error=lambda index: "In node 3: Unsupported operator Magic"
        )

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        def load(plan: bytes) -> Any:
            if plan == b"spoilt":
                return None
            file, shapes = pickle.loads(plan)
            return _Engine(self, file, shapes)

        return SimpleNamespace(deserialize_cuda_engine=load)


class _Engine:
    def __init__(self, trt: StandIn, file: str, shapes: tuple[Any, ...]) -> None:
        self._trt, self._file, self._shapes = trt, file, shapes
        self._session = session = session_of(file)
        self._tensors = {tensor.name: tensor for tensor in [*session.get_inputs(), *session.get_outputs()]}
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self._trt.TensorIOMode.INPUT if name == self.get_tensor_name(0) else self._trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self._trt.DataType[TYPES[self._tensors[name].type]]

    def create_execution_context(self) -> Any:
        name = self.get_tensor_name(0)
        kind = np.float32 if self._tensors[name].type == "tensor(float)" else np.float16
        addresses: dict[str, int] = {}
        outputs: dict[str, tuple[int, ...]] = {}
        given: list[tuple[int, ...]] = []

        def set_input_shape(tensor: str, shape: tuple[int, ...]) -> bool:
            _, low, _, high = self._shapes
            given[:] = [shape]
            if (self._file, shape) not in SHAPES:
                found = self._session.run(None, {name: np.zeros((1, *shape[1:]), kind)})
                SHAPES[self._file, shape] = [(shape[0], *output.shape[1:]) for output in found]
            outputs.update(zip(list(self._tensors)[1:], SHAPES[self._file, shape], strict=True))
            return all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))

        def execute(stream: int) -> bool:
            size = int(np.prod(given[0])) * np.dtype(kind).itemsize
            fed = np.frombuffer((ctypes.c_char * size).from_address(addresses[name]), kind).reshape(given[0])
            for tensor, result in zip(outputs, self._session.run(None, {name: fed}), strict=True):
                ctypes.memmove(addresses[tensor], np.ascontiguousarray(result).ctypes.data, result.nbytes)
            return self._trt.broken != "execute"

        return SimpleNamespace(
            set_input_shape=set_input_shape,
            get_tensor_shape=outputs.__getitem__,
            set_tensor_address=addresses.__setitem__,
            execute_async_v3=execute,
        )


class CpuTorch:
    """PyTorch, with the CPU for a GPU."""

    cuda = SimpleNamespace(
        device_count=lambda: 2,
        device=lambda device: contextlib.nullcontext(),
        stream=lambda stream: contextlib.nullcontext(),
        Stream=lambda device: SimpleNamespace(cuda_stream=1),
        get_device_properties=lambda device: SimpleNamespace(name="NVIDIA L4", major=8, minor=9),
    )

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def device(kind: str, index: int) -> torch.device:
        assert (kind, index) == ("cuda", 0)
        return torch.device("cpu")


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stand_in = StandIn()
    monkeypatch.setattr(tensorrt, "_libraries", lambda device: (CpuTorch(), stand_in))
    return stand_in


def noise(count: int, height: int, width: int) -> Sequence[NDArray[np.uint8]]:
    return list(np.random.default_rng(1).integers(0, 255, (count, height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(("height", "width", "count"), [(192, 320, 1), (320, 256, 3)])
def test_pictures_reach_the_engine_as_they_reach_other_runtimes(
    trt: StandIn, height: int, width: int, count: int
) -> None:
    runtime = load_runtime(STARTER, config())
    reference = load_runtime(STARTER, config(runtime="onnx", device="cpu"))
    assert (runtime.info.runtime, runtime.info.precision, runtime.max_batch) == ("tensorrt", "fp32", 16)
    assert runtime.info.names == reference.info.names
    pictures = noise(count, height, width)
    runtime.prepare(height, width)
    (ours,) = runtime.infer(pictures)
    assert ours.shape[0] == count
    for found, picture in zip(ours, pictures, strict=True):
        np.testing.assert_allclose(found, reference.infer([picture])[0][0], rtol=1e-3, atol=2e-2)


def test_mean_deviation_and_colour_order_are_the_sidecars(trt: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(STARTER.read_bytes())
    names = [str(n) for n in range(len(load_runtime(STARTER, config(runtime="onnx", device="cpu")).info.names))]
    (tmp_path / "mine.onnx.yaml").write_text(
        f"head: yolo\nnames: {names}\ncolor: bgr\nmean: [0.4, 0.5, 0.6]\nstd: [0.2, 0.3, 0.4]\nscale: 200\n"
    )
    pictures = noise(1, 128, 160)
    (ours,) = load_runtime(path, config()).infer(pictures)
    (theirs,) = load_runtime(path, config(runtime="onnx", device="cpu")).infer(pictures)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-2)


def test_an_engine_is_built_once_and_again_when_spoilt(trt: StandIn, tmp_path: Path) -> None:
    load_runtime(STARTER, config())
    load_runtime(STARTER, config())
    assert trt.builds == 1
    (file,) = (tmp_path / "vigil" / "models").glob("*.engine")
    file.write_bytes(b"spoilt")
    load_runtime(STARTER, config())
    assert trt.builds == 2
    load_runtime(STARTER, config(batch=2))
    assert trt.builds == 3


def test_weights_of_ultralytics_are_exported_in_half_precision(
    trt: StandIn, weights: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    runtime = load_runtime(weights, config())
    assert (runtime.info.precision, trt.typed, trt.flags) == ("fp16", True, [])
    assert runtime.infer(noise(2, 128, 128))[0].shape[0] == 2
    assert load_runtime(weights, config(precision="fp32")).info.precision == "fp32"


def test_tensorrt_10_reduces_a_float_file(trt: StandIn) -> None:
    assert load_runtime(STARTER, config(precision="fp16")).info.precision == "fp16"
    assert (trt.typed, trt.flags) == (False, [trt.BuilderFlag.FP16])


def test_tensorrt_11_does_not(monkeypatch: pytest.MonkeyPatch, trt: StandIn) -> None:
    monkeypatch.setattr(tensorrt, "_libraries", lambda device: (CpuTorch(), StandIn(version=11)))
    with pytest.raises(ModelError, match=r"starter.onnx is in fp32.*for fp16 export it so.*tensorrt<11"):
        load_runtime(STARTER, config(precision="fp16"))


def test_a_quantised_file_is_int8(trt: StandIn) -> None:
    trt.layers.append(trt.LayerType.QUANTIZE)
    assert load_runtime(STARTER, config(precision="int8")).info.precision == "int8"
    assert trt.typed


def test_a_size_beyond_the_profile_is_refused(trt: StandIn) -> None:
    with pytest.raises(ModelError, match="takes inputs from 128 to 320 pixels a side, not 352x320"):
        load_runtime(STARTER, config()).prepare(320, 352)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("parse", "TensorRT cannot read .*starter.onnx: In node 3: Unsupported operator Magic"),
        ("build", "TensorRT cannot build an engine of 1x3x128x128-8x3x192x320-16x3x320x320"),
        ("execute", r"TensorRT failed to compute starter on \(16, 3, 320, 320\)"),
    ],
)
def test_what_fails_is_told(trt: StandIn, broken: str, said: str) -> None:
    trt.broken = broken
    with pytest.raises(ModelError, match=said):
        load_runtime(STARTER, config())


@pytest.mark.parametrize("device", ["cuda:2", "cuda:x", "gpu"])
def test_a_device_that_is_not_there_is_told(trt: StandIn, device: str) -> None:
    with pytest.raises(ModelError, match=f"no '{device}'; PyTorch finds 2 CUDA devices"):
        load_runtime(STARTER, config(device=device))


def test_int8_wants_a_quantised_file(trt: StandIn, weights: Path) -> None:
    for path in (STARTER, weights):
        with pytest.raises(ModelError, match=f"{path.name}: in TensorRT, int8 takes an ONNX file that is quantised"):
            load_runtime(path, config(precision="int8"))


# -- without any of it


def test_without_a_gpu_it_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match="tensorrt needs an NVIDIA GPU, and PyTorch finds no CUDA device"):
        TensorRtRuntime(STARTER, config())
    with pytest.raises(ModelError, match="computes on NVIDIA GPUs, not on 'cpu'"):
        TensorRtRuntime(STARTER, config(device="cpu"))


def test_without_the_package_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_tensorrt(name: str, *rest: Any) -> Any:
        if name == "tensorrt":
            raise ModuleNotFoundError("No module named 'tensorrt'")
        return real(name, *rest)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(builtins, "__import__", without_tensorrt)
    with pytest.raises(ModelError, match=r"pip install 'vigil-video\[tensorrt\]'"):
        TensorRtRuntime(STARTER, config())
