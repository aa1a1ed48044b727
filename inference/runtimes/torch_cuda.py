"""PyTorch on a GPU: batches of fixed sizes as CUDA graphs, on two streams, so that copies overlap computing.

A lane computes one batch at a time: it has a stream, buffers and graphs of its own. With two of them, one batch is
copied to the GPU and its boxes back while the other is computed. Everything that a lane does is ordered by its stream;
a caller has the lane to itself from the first copy until the results are on the host.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from inference.found import Rows
from inference.heads import Outputs
from inference.runtimes import Picture
from inference.runtimes.torch_decode import YoloDecoder

log = structlog.get_logger()

LANES = 2
# A batch is filled up to one of these sizes, each of which is captured as a graph.
BATCHES = (1, 2, 4, 8, 16, 32)
# cuDNN chooses its algorithms, and PyTorch's libraries allocate, before a graph is captured.
WARM_UPS = 3
CUDNN_ALGORITHMS = 4
BUSY_S = 0.001


class Network(Protocol):
    def __call__(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Raw outputs, float32 [batch, ...] each, for uint8 BGR [batch, height, width, 3]."""
        ...

    def kept(self) -> Any:
        """Tensors that the last call computed with and the next may replace."""
        ...


def padded(count: int) -> int:
    """The captured batch size that holds `count` pictures."""
    return next(size for size in BATCHES if size >= count)


@dataclass(slots=True)
class _Buffers:
    """For pictures of one size, `BATCHES[-1]` of them: pinned host memory and what it is copied to."""

    staging: torch.Tensor
    pictures: torch.Tensor

    def fill(self, pictures: Sequence[Picture]) -> None:
        """Begins to bring the pictures to the device, on the current stream; those there already are copied there."""
        count = len(pictures)
        on_device = [picture for picture in pictures if isinstance(picture, torch.Tensor)]
        if len(on_device) == count:
            torch.stack(on_device, out=self.pictures[:count])
            return
        for index, picture in enumerate(pictures):
            if isinstance(picture, torch.Tensor):
                self.pictures[index].copy_(picture, non_blocking=True)
            else:
                self.staging[index].numpy()[:] = picture
        if not on_device:
            self.pictures[:count].copy_(self.staging[:count], non_blocking=True)
            return
        for index, picture in enumerate(pictures):
            if not isinstance(picture, torch.Tensor):
                self.pictures[index].copy_(self.staging[index], non_blocking=True)


@dataclass(slots=True)
class _Program:
    """The computation of one batch of one size; without a graph it is launched operation by operation.

    Attributes:
        pictures: uint8 [batch, height, width, 3], the input.
        outputs: what the last run made: raw outputs, and the decoder's rows where there is one.
        rows: pinned host memory for the rows.
        kept: tensors that the graph reads, which nobody may free.
    """

    pictures: torch.Tensor
    graph: torch.cuda.CUDAGraph | None = None
    outputs: tuple[tuple[torch.Tensor, ...], torch.Tensor | None] = ((), None)
    rows: torch.Tensor | None = None
    kept: Any = None


@dataclass(slots=True)
class _Lane:
    stream: torch.cuda.Stream
    done: torch.cuda.Event
    pool: Any
    buffers: dict[tuple[int, int], _Buffers] = field(default_factory=dict)
    programs: dict[tuple[int, int, int], _Program] = field(default_factory=dict)


class CudaEngine:
    """Runs a network on `device`; `LANES` threads may call `infer` and `detect` at once."""

    def __init__(self, network: Network, decoder: YoloDecoder | None, device: torch.device) -> None:
        self._network = network
        self._decoder = decoder
        self._device = device
        # Ultralytics' head remembers the shape it saw last: outside of graphs one call at a time.
        self._one_call = threading.Lock()
        # Of all threads one captures, as PyTorch demands.
        self._capturing = threading.Lock()
        self._prepared: defaultdict[tuple[int, int], list[int]] = defaultdict(list)  # by picture size: batch sizes
        self._lanes: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.benchmark_limit = CUDNN_ALGORITHMS
        torch.backends.cudnn.allow_tf32 = False  # fp32 is to mean fp32
        with torch.cuda.device(device):
            for _ in range(LANES):
                self._lanes.put(_Lane(
                    torch.cuda.Stream(device), torch.cuda.Event(blocking=True), torch.cuda.graph_pool_handle()
                ))  # fmt: skip

    def prepare(self, height: int, width: int) -> None:
        """Captures every batch size for these pictures in every lane. Batches of other sizes go on meanwhile: a lane is
        taken for one capture at a time."""
        with self._capturing:
            while len(self._prepared[height, width]) < LANES * len(BATCHES):
                lane = self._lanes.get()
                try:
                    batch = next((n for n in BATCHES if (height, width, n) not in lane.programs), None)
                    if batch is not None:
                        self._prepare(lane, height, width, batch)
                        self._prepared[height, width].append(batch)
                finally:
                    self._lanes.put(lane)
                if batch is None:
                    time.sleep(BUSY_S)  # the lane that is wanted computes something

    def infer(self, pictures: Sequence[Picture]) -> Outputs:
        """Raw outputs, float32 [batch, ...] each, on the host."""
        count = len(pictures)
        lane = self._lanes.get()
        try:
            with torch.inference_mode(), torch.cuda.device(self._device), torch.cuda.stream(lane.stream):
                raw, _ = self._run(lane, pictures).outputs
                return [output[:count].cpu().numpy() for output in raw]
        finally:
            self._lanes.put(lane)

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Rows, NDArray[np.float32] | None]]:
        """The boxes of each picture; where it was too crowded to be decoded on the device, its raw output as well."""
        count = len(pictures)
        lane = self._lanes.get()
        try:
            with torch.inference_mode(), torch.cuda.device(self._device), torch.cuda.stream(lane.stream):
                program = self._run(lane, pictures)
                raw, rows = program.outputs
                assert rows is not None and program.rows is not None, "there is no decoder"
                program.rows[:count].copy_(rows[:count], non_blocking=True)
                lane.done.record(lane.stream)
                lane.done.synchronize()
                return split(program.rows[:count].numpy(), raw[0])
        finally:
            self._lanes.put(lane)

    def _run(self, lane: _Lane, pictures: Sequence[Picture]) -> _Program:
        height, width = pictures[0].shape[:2]
        program = lane.programs.get((height, width, padded(len(pictures))))
        if program is None:
            raise ValueError(f"{len(pictures)} pictures of {width}x{height} were not prepared")
        lane.buffers[height, width].fill(pictures)
        if program.graph is not None:
            program.graph.replay()
        else:
            with self._one_call:
                program.outputs = self._compute(program.pictures)
        return program

    def _compute(self, pictures: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        raw = self._network(pictures)
        return raw, self._decoder.decode(raw[0]) if self._decoder is not None else None

    def _prepare(self, lane: _Lane, height: int, width: int, batch: int) -> None:
        if (height, width) not in lane.buffers:
            shape = (BATCHES[-1], height, width, 3)
            pictures = torch.zeros(shape, dtype=torch.uint8, device=self._device)
            lane.buffers[height, width] = _Buffers(_pinned(shape, torch.uint8), pictures)
            torch.cuda.current_stream(self._device).synchronize()  # the zeros are there, whatever the stream
        lane.programs[height, width, batch] = self._captured(lane, lane.buffers[height, width].pictures[:batch])

    def _captured(self, lane: _Lane, pictures: torch.Tensor) -> _Program:
        program = _Program(pictures)
        with self._one_call, torch.inference_mode(), torch.cuda.device(self._device):
            with torch.cuda.stream(lane.stream):
                for _ in range(WARM_UPS):
                    program.outputs = self._compute(pictures)
                lane.stream.synchronize()
            rows = program.outputs[1]
            if rows is not None:
                program.rows = _pinned(rows.shape, rows.dtype)
            program.outputs = ((), None)
            graph = torch.cuda.CUDAGraph()
            try:
                # Other threads may launch and allocate meanwhile: only this one's calls are held against the capture.
                with torch.cuda.graph(graph, lane.pool, lane.stream, capture_error_mode="thread_local"):
                    program.outputs = self._compute(pictures)
            except RuntimeError as error:
                log.warning("no CUDA graph; operations are launched one by one, which is slower", error=str(error))
                return _Program(pictures, rows=program.rows)
            program.graph, program.kept = graph, self._network.kept()
        return program


def _pinned(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(tuple(shape), dtype=dtype, pin_memory=True)


def split(rows: NDArray[np.float32], raw: torch.Tensor) -> list[tuple[Rows, NDArray[np.float32] | None]]:
    """What `YoloDecoder.decode` made, picture by picture, in memory of its own; with the raw output where it must be.

    Args:
        rows: float32 [batch, 1 + most boxes, 6] on the host.
        raw: the raw output, [at least batch, ...], on any device.
    """
    found = []
    for index, picture in enumerate(rows):
        count, certain = int(picture[0, 0]), bool(picture[0, 1])
        found.append((picture[1 : 1 + count].copy(), None if certain else raw[index].cpu().numpy()))
    return found
