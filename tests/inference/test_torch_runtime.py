"""The torch runtime: its network, its devices, and the GPU engine's bookkeeping with CUDA's calls taken away."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import load_head
from inference.input import InputSpec
from inference.runtimes import detect_on_device, gpu_of, load_runtime, torch_cuda
from inference.runtimes.torch import Network, find_device, load_weights
from inference.runtimes.torch_cuda import BATCHES, LANES, CudaEngine, padded

CPU = torch.device("cpu")
SIZE = (64, 96)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ultralytics import YOLO

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "yolov8n.pt"
    YOLO("yolov8n.yaml").save(str(path))
    return path


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8) for _ in range(count)]


# -- the network


def normalised(spec: InputSpec) -> torch.Tensor:
    """What the model is given of one picture."""

    class Seen(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = [torch.nn.Identity()]

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels

    (seen,) = Network(Seen(), spec, torch.float32, CPU)(torch.from_numpy(np.stack(pictures(1))))
    return seen


def test_pictures_are_given_to_the_model_as_it_wants_them() -> None:
    (picture,) = pictures(1)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    plain = normalised(InputSpec())
    np.testing.assert_allclose(plain[0].numpy(), picture[..., ::-1].transpose(2, 0, 1) / 255, atol=1e-6)
    raw = normalised(InputSpec(color="bgr", scale=1.0))
    np.testing.assert_array_equal(raw[0].numpy(), picture.transpose(2, 0, 1))
    both = normalised(InputSpec(mean=mean, std=std))
    expected = (picture[..., ::-1].astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    np.testing.assert_allclose(both[0].numpy(), expected.transpose(2, 0, 1), atol=1e-5)


def test_half_precision_decodes_boxes_in_float32(weights: Path) -> None:
    def computed(dtype: torch.dtype) -> torch.Tensor:
        model = load_weights(weights)[0]
        torch.manual_seed(1)
        for branch in model.model[-1].cv2:
            branch[-1].bias.data.normal_()  # untrained boxes are all alike
        with torch.inference_mode():
            (output,) = Network(model, InputSpec(), dtype, CPU)(torch.from_numpy(np.stack(pictures(1))))
        return output

    whole, half = computed(torch.float32), computed(torch.bfloat16)
    assert half.dtype == torch.float32
    assert (half[:, :4] % 0.125 != 0).any(), "boxes on a coarse grid: they went through half precision"
    assert (half[:, :4] - whole[:, :4]).abs().max() < 1


# -- devices


def test_a_cpu_takes_no_device_pictures_and_decodes_with_the_head(weights: Path) -> None:
    runtime = load_runtime(weights, DetectorConfig(runtime="torch", device="cpu", precision="fp32"))
    assert (gpu_of(runtime), detect_on_device(runtime, pictures(1)), runtime.max_batch) == (None, None, 1)


@pytest.mark.parametrize(
    ("device", "said"),
    [("cuda:9", "no CUDA device|there is no 'cuda:9'"), ("tpu", "is no device"), ("mps", "cpu or cuda, not 'mps'")],
)
def test_a_device_that_is_not_there_is_told(device: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        find_device(device)


def test_the_devices_that_are_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU{number}")
    assert find_device("auto") == torch.device("cuda:0")
    assert find_device("cuda") == torch.device("cuda:0")
    assert find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ModelError, match=r"there is cuda:0 \(GPU0\), cuda:1 \(GPU1\)"):
        find_device("cuda:2")


# -- the engine


class Stream:
    def __init__(self, *_: object) -> None:
        self.synchronize = lambda: None


class Event:
    def __init__(self, blocking: bool) -> None:
        assert blocking, "waiting must not spin"
        self.record = self.synchronize = lambda *_: None


class Graph:
    """Records that it was replayed; what it stands for is computed anew, into the same tensors."""

    replays = 0

    def __init__(self) -> None:
        self.again: Callable[[], None] = lambda: None

    def replay(self) -> None:
        Graph.replays += 1
        self.again()


class Doubling:
    """A network whose raw output says what it saw: [batch, 5, 1] per picture, its first value as the score."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.busy = threading.Lock()

    def __call__(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.batches.append(len(batch))
        output = torch.zeros(len(batch), 5, 1)
        output[:, 4, 0] = batch[:, 0, 0, 0].float()
        return (output,)

    def kept(self) -> None:
        return None


class Certain:
    """A decoder whose boxes are the scores; pictures of 200 and more are too crowded for it."""

    def decode(self, output: torch.Tensor) -> torch.Tensor:
        rows = torch.zeros(len(output), 2, 6)
        rows[:, 0, 0], rows[:, 0, 1] = 1, output[:, 4, 0] < 200
        rows[:, 1, 4] = output[:, 4, 0]
        return rows


@pytest.fixture(params=["graphs", "no graphs"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CudaEngine:
    """An engine whose device is the CPU, prepared for `SIZE`."""

    @contextlib.contextmanager
    def graph(made: Graph, pool: object, stream: object, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        if request.param == "no graphs":
            raise RuntimeError("operation not permitted when stream is capturing")
        yield

    cuda = torch.cuda
    for name, value in {
        "Stream": Stream, "Event": Event, "CUDAGraph": Graph, "graph": graph, "graph_pool_handle": lambda: (0, 0),
        "device": lambda *_: contextlib.nullcontext(), "stream": lambda *_: contextlib.nullcontext(),
        "current_stream": lambda *_: Stream(),
    }.items():  # fmt: skip
        monkeypatch.setattr(cuda, name, value)
    monkeypatch.setattr(torch_cuda, "_pinned", lambda shape, dtype: torch.zeros(tuple(shape), dtype=dtype))
    made = CudaEngine(Doubling(), Certain(), CPU)  # type: ignore[arg-type]
    captured = made._captured

    def capture(lane: Any, batch: torch.Tensor) -> Any:
        program = captured(lane, batch)
        if program.graph is not None:

            def again() -> None:
                (raw,), rows = made._compute(batch)
                program.outputs[0][0].copy_(raw)
                program.outputs[1].copy_(rows)

            program.graph.again = again
        return program

    monkeypatch.setattr(made, "_captured", capture)
    made.prepare(*SIZE)
    return made


def marked(values: Sequence[int], on_device: Sequence[int] = ()) -> list[Any]:
    made: list[Any] = [np.full((*SIZE, 3), value, np.uint8) for value in values]
    return [
        torch.from_numpy(picture) if value in on_device else picture
        for picture, value in zip(made, values, strict=True)
    ]


@pytest.mark.parametrize("on_device", [(), (1, 2, 3, 4, 5), (2, 4)])
def test_pictures_of_both_memories_come_back_in_their_order(engine: CudaEngine, on_device: Sequence[int]) -> None:
    found = engine.detect(marked([1, 2, 3, 4, 5], on_device))
    assert [float(rows[0, 4]) for rows, _ in found] == [1, 2, 3, 4, 5]
    (raw,) = engine.infer(marked([5, 4, 3], on_device))
    assert raw[:, 4, 0].tolist() == [5, 4, 3]


def test_batches_are_filled_up_to_the_captured_sizes() -> None:
    assert [padded(count) for count in (1, 2, 3, 5, 9, 17, 32)] == [1, 2, 4, 8, 16, 32, 32]


def test_every_size_is_captured_once_in_every_lane(engine: CudaEngine) -> None:
    engine.prepare(*SIZE)
    lanes = [engine._lanes.get() for _ in range(LANES)]
    assert [sorted(batch for _, _, batch in lane.programs) for lane in lanes] == [sorted(BATCHES)] * LANES
    assert lanes[0].buffers[SIZE] is not lanes[1].buffers[SIZE]


def test_a_crowded_picture_comes_with_its_raw_output(engine: CudaEngine) -> None:
    (_, calm), (_, crowded) = engine.detect(marked([10, 210]))
    assert calm is None
    assert crowded is not None and crowded[4, 0] == 210


def test_results_are_the_callers_own(engine: CudaEngine) -> None:
    ((first, _),) = engine.detect(marked([7]))
    for value in range(20, 20 + LANES):
        engine.detect(marked([value]))
    assert float(first[0, 4]) == 7


def test_sizes_that_were_not_prepared_are_refused(engine: CudaEngine) -> None:
    with pytest.raises(ValueError, match="were not prepared"):
        engine.detect([np.zeros((32, 32, 3), np.uint8)])
    assert len(engine.detect(marked([1]))) == 1, "the lane came back"


def test_threads_do_not_see_each_others_pictures(engine: CudaEngine) -> None:
    wrong: list[int] = []

    def work(value: int) -> None:
        for _ in range(20):
            ((rows, _),) = engine.detect(marked([value]))
            if float(rows[0, 4]) != value:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in (11, 22, 33)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# -- on a GPU


@needs_gpu
@pytest.mark.parametrize(("precision", "pixels", "score"), [("fp32", 0.1, 1e-3), ("fp16", 1.0, 0.02)])
def test_boxes_of_a_gpu_are_those_of_a_cpu(data: Path, precision: str, pixels: float, score: float) -> None:
    import cv2

    from inference.letterbox import Letterbox
    from ingest.scene import photo_path

    file = data / "weights" / "yolov8n.pt"
    photo = cv2.imread(str(photo_path("bus.jpg")))
    assert photo is not None
    letterbox = Letterbox.fit(photo.shape[1], photo.shape[0], 640)
    slot = np.empty((letterbox.height, letterbox.width, 3), np.uint8)
    letterbox.apply(photo, slot)  # type: ignore[arg-type]
    host = load_runtime(file, DetectorConfig(runtime="torch", device="cpu", precision="fp32"))
    head = load_head(host.info, 0.25, 0.7, None, 300)
    expected = head.decode([host.infer([slot])[0][0]], letterbox.height, letterbox.width).rows
    gpu: Any = load_runtime(
        file, DetectorConfig.model_validate({"runtime": "torch", "device": "cuda", "precision": precision})
    )
    gpu.prepare(letterbox.height, letterbox.width)
    for count in (1, 3, 32):
        for batch in ([slot] * count, [torch.from_numpy(slot).cuda()] * count):
            for rows in (found.rows for found in gpu.detect(batch)):
                assert len(rows) == len(expected)
                np.testing.assert_allclose(rows[:, :4], expected[:, :4], atol=pixels)
                np.testing.assert_allclose(rows[:, 4], expected[:, 4], atol=score)
    raw = head.decode([gpu.infer([slot])[0][0]], letterbox.height, letterbox.width).rows
    np.testing.assert_allclose(raw[:, :4], expected[:, :4], atol=pixels)
