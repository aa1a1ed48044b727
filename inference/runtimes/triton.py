"""Triton: models on an inference server elsewhere, over gRPC (KServe's v2 protocol)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import Outputs
from inference.model import Described, ModelInfo, describe
from inference.runtimes import probe_size
from inference.runtimes.triton_memory import Region, is_abandoned
from inference.runtimes.triton_model import PRECISIONS, Address, Served
from inference.sidecar import load_sidecar

try:
    import tritonclient.grpc as client
    from tritonclient.utils import InferenceServerException, triton_to_np_dtype
except ImportError as error:
    raise ModelError(
        f"detector.runtime: triton needs its client ({error}): pip install 'vigil-video[triton]'"
    ) from None

log = structlog.get_logger()

RETRY_S = 0.1
# A server may optimise for a new size when it first sees it.
PREPARE_S = 60.0
AWAY = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is found again within a second; by default gRPC waits for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class TritonRuntime:
    """Sends batches; the server computes them. Every thread that calls `infer` has its own shared memory, if any.

    While the server is away, a call tries again until `detector.triton.timeout` is over, and then fails.
    """

    def __init__(self, path: Path, config: DetectorConfig) -> None:
        self._address = address = Address.parse(config.model)
        if config.device != "auto":
            raise ModelError(f"detector.device: the Triton server decides where it computes, not {config.device!r}")
        self._settings = config.triton
        self._client: Any = client.InferenceServerClient(address.server, channel_args=CHANNEL)
        self._is_away = threading.Event()
        self._threads = threading.local()
        # Bytes that each output takes for one picture, by input size; learned by the first request.
        self._output_bytes: dict[tuple[int, int], list[int]] = {}
        try:
            metadata = self._call(self._client.get_model_metadata, address.model, address.version)
            answer = self._call(self._client.get_model_config, address.model, address.version)
            if self._settings.shared_memory:
                self._forget_abandoned()
        except InferenceServerException as error:
            raise ModelError(
                f"detector.model: no model {address.model!r} from Triton at {address.server}: {_words(error)}"
            ) from None
        self._served = Served.read(address, metadata, answer.config)
        described = self._described()
        spec = replace(described.input, fixed=self._served.fixed) if self._served.fixed else described.input
        precision = PRECISIONS[self._served.datatype]
        if config.precision not in ("auto", precision):
            raise ModelError(
                f"detector.precision: {address} computes as the server was told; it takes {precision}, "
                f"not {config.precision}"
            )
        self._dtype = triton_to_np_dtype(self._served.datatype)
        self.max_batch = self._served.max_batch
        self.parallel = self._served.requests
        self.info = ModelInfo(
            name=address.model,
            hash=self._served.hash,
            names=described.names,
            head=described.head,
            input=spec,
            image_size=config.image_size,
            runtime="triton",
            device=address.server,
            precision=precision,
            keypoints=described.keypoints,
        )
        self.prepare(*probe_size(spec))

    def prepare(self, height: int, width: int) -> None:
        """Two requests: one learns how large outputs are, the other goes the way that all will go."""
        picture = np.zeros((height, width, 3), np.uint8)
        blob = self.info.input.blob([picture]).astype(self._dtype, copy=False)
        self._threads.timeout = PREPARE_S
        try:
            self._output_bytes[height, width] = [output.nbytes for output in self._plain(blob)]
            self.infer([picture] * self.max_batch)
        except InferenceServerException as error:
            raise ModelError(f"{self._address} cannot take pictures of {width}x{height}: {_words(error)}") from None
        finally:
            self._threads.timeout = self._settings.timeout

    def infer(self, pictures: Sequence[NDArray[np.uint8]]) -> Outputs:
        blob = self.info.input.blob(pictures).astype(self._dtype, copy=False)
        try:
            outputs = self._shared(blob) if self._settings.shared_memory else self._plain(blob)
        except InferenceServerException as error:
            raise ModelError(f"{self._address} failed: {_words(error)}") from None
        if any(len(output) != len(pictures) for output in outputs):
            raise ModelError(f"{self._address} answered {len(pictures)} pictures with {[len(o) for o in outputs]}")
        return [output.astype(np.float32, copy=False) for output in outputs]

    def _plain(self, blob: NDArray[Any]) -> list[NDArray[Any]]:
        tensor = client.InferInput(self._served.input, list(blob.shape), self._served.datatype)
        tensor.set_data_from_numpy(blob)
        result = self._infer(tensor, [client.InferRequestedOutput(name) for name in self._served.outputs])
        return [result.as_numpy(name) for name in self._served.outputs]

    def _shared(self, blob: NDArray[Any]) -> list[NDArray[Any]]:
        sizes = [size * len(blob) for size in self._output_bytes[blob.shape[2], blob.shape[3]]]
        offsets = np.cumsum([blob.nbytes, *sizes]).tolist()
        region = self._region(offsets[-1])
        try:
            return self._through(region, blob, sizes, offsets)
        except InferenceServerException as error:
            if error.status() in AWAY or self._knows(region):
                raise
        # The server was started anew.
        self._threads.region = None
        return self._through(self._region(offsets[-1]), blob, sizes, offsets)

    def _through(self, region: Region, blob: NDArray[Any], sizes: list[int], offsets: list[int]) -> list[NDArray[Any]]:
        """Input first, then the outputs, whose offsets these are."""
        region.array(self._dtype, blob.shape, 0)[:] = blob
        tensor = client.InferInput(self._served.input, list(blob.shape), self._served.datatype)
        tensor.set_shared_memory(region.name, blob.nbytes)
        wanted = []
        for name, size, offset in zip(self._served.outputs, sizes, offsets, strict=False):
            wanted.append(client.InferRequestedOutput(name))
            wanted[-1].set_shared_memory(region.name, size, offset)
        result = self._infer(tensor, wanted)
        outputs = []
        for name, offset in zip(self._served.outputs, offsets, strict=False):
            said = result.get_output(name)
            view = region.array(triton_to_np_dtype(said.datatype), tuple(said.shape), offset)
            outputs.append(view.copy())
        return outputs

    def _infer(self, tensor: Any, wanted: list[Any]) -> Any:
        return self._call(self._client.infer, self._address.model, [tensor], self._address.version, wanted)

    def _call(self, method: Callable[..., Any], *args: Any) -> Any:
        """Calls the server; while it cannot be reached, again and again until the time is over.

        Raises:
            InferenceServerException: it said no, or nothing in time.
        """
        ends = time.monotonic() + getattr(self._threads, "timeout", self._settings.timeout)
        while True:
            try:
                answer = method(*args, client_timeout=max(RETRY_S, ends - time.monotonic()))
            except InferenceServerException as error:
                if error.status() != "StatusCode.UNAVAILABLE" or time.monotonic() + RETRY_S > ends:
                    raise
                if not self._is_away.is_set():
                    self._is_away.set()
                    log.warning("the Triton server is away", server=self._address.server, error=_words(error))
                time.sleep(RETRY_S)
                continue
            if self._is_away.is_set():
                self._is_away.clear()
                log.info("the Triton server is back", server=self._address.server)
            return answer

    # -- shared memory

    def _region(self, size: int) -> Region:
        """This thread's own, of at least this size."""
        region: Region | None = getattr(self._threads, "region", None)
        if region is not None and region.size >= size:
            return region
        if region is not None:
            self._memory(self._client.unregister_system_shared_memory, region.name)
        region = self._threads.region = Region(
            size, lambda *registration: self._memory(self._client.register_system_shared_memory, *registration)
        )
        return region

    def _knows(self, region: Region) -> bool:
        """Whether the server still has this region."""
        return region.name in self._memory(self._client.get_system_shared_memory_status).regions

    def _forget_abandoned(self) -> None:
        """Has the server let go of what killed processes left."""
        for name in self._memory(self._client.get_system_shared_memory_status).regions:
            if is_abandoned(name):
                self._memory(self._client.unregister_system_shared_memory, name)

    def _memory(self, method: Callable[..., Any], *args: Any) -> Any:
        try:
            return self._call(method, *args)
        except InferenceServerException as error:
            if error.status() in AWAY:
                raise
            raise ModelError(
                f"detector.triton.shared_memory: Triton at {self._address.server} refuses: {_words(error)}; it must "
                "run on this machine with the same /dev/shm, or set it to false"
            ) from None

    # -- what the model is

    def _described(self) -> Described:
        sidecar = self._settings.sidecar
        if sidecar is not None:
            said = load_sidecar(sidecar)
            return Described(tuple(said.names), said.head, said.input(), said.keypoints)
        if not self._served.metadata.get("names"):
            raise ModelError(
                f"{self._address} does not say the names of its classes: add Ultralytics' metadata to the parameters "
                "in its config.pbtxt, or set detector.triton.sidecar (docs/runtimes.md)"
            )
        # No file of this name can exist, so no sidecar is taken for this model's by accident.
        return describe(Path(os.devnull) / self._address.model, self._served.metadata)


def _words(error: Any) -> str:
    """What the server said, or that it said nothing."""
    status = str(error.status() or "").removeprefix("StatusCode.").lower().replace("_", " ")
    first = str(error.message() or "").strip().partition("\n")[0]
    return f"{status}: {first}" if first else status
