"""A small inference server that speaks KServe's v2 protocol over gRPC, as Triton does, and computes with ONNX Runtime.

`python -m tests.inference.kserve MODEL PORT` serves until it is killed.
"""

from __future__ import annotations

import mmap
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime as ort
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

DATATYPES = {"tensor(float)": "FP32", "tensor(float16)": "FP16"}
DTYPES = {"FP32": np.float32, "FP16": np.float16}


def session_of(path: Path | str) -> ort.InferenceSession:
    """In one thread: several test processes share the cores, and ONNX Runtime's idle threads spin."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options)


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """One model, by the name of its file, version 1."""

    def __init__(self, path: Path, parameters: dict[str, str] | None = None, max_batch: int = 8) -> None:
        self.name = path.stem
        self.session = session_of(path)
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.parameters = {"metadata": str(metadata)} if parameters is None else parameters
        self.max_batch = max_batch
        self.instances = 1
        self.delay_s = 0.0
        self.requests: list[Any] = []
        self.memory: dict[str, tuple[str, mmap.mmap]] = {}

    def _check(self, request: Any, context: grpc.ServicerContext, name: str, version: str) -> None:
        if name != self.name or version not in ("", "1"):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' version '{version}'")

    def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._check(request, context, request.name, request.version)

        def tensor(one: Any) -> Any:
            shape = [size if isinstance(size, int) else -1 for size in one.shape]
            return service_pb2.ModelMetadataResponse.TensorMetadata(
                name=one.name, datatype=DATATYPES[one.type], shape=shape
            )

        return service_pb2.ModelMetadataResponse(
            name=self.name, versions=["1"], platform="onnxruntime_onnx",
            inputs=[tensor(one) for one in self.session.get_inputs()],
            outputs=[tensor(one) for one in self.session.get_outputs()],
        )  # fmt: skip

    def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._check(request, context, request.name, request.version)
        config = model_config_pb2.ModelConfig(name=self.name, max_batch_size=self.max_batch)
        config.instance_group.add(count=self.instances)
        for key, value in self.parameters.items():
            config.parameters[key].string_value = value
        return service_pb2.ModelConfigResponse(config=config)

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._check(request, context, request.model_name, request.model_version)
        self.requests.append(request)
        time.sleep(self.delay_s)
        raw = list(request.raw_input_contents)
        feed = {}
        for tensor in request.inputs:
            memory = self._memory(tensor.parameters, context)
            data = memory if memory is not None else raw.pop(0)
            feed[tensor.name] = np.frombuffer(data, DTYPES[tensor.datatype]).reshape(list(tensor.shape))
        names = [output.name for output in request.outputs]
        answer = service_pb2.ModelInferResponse(model_name=self.name, model_version="1")
        for output, array in zip(request.outputs, self.session.run(names, feed), strict=True):
            answer.outputs.add(name=output.name, datatype="FP32", shape=array.shape)
            memory = self._memory(output.parameters, context)
            data = np.ascontiguousarray(array, np.float32).tobytes()
            if memory is None:
                answer.raw_output_contents.append(data)
            elif len(data) > len(memory):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "shared memory size is smaller than the output")
            else:
                memory[: len(data)] = data
        return answer

    def _memory(self, parameters: Any, context: grpc.ServicerContext) -> memoryview | None:
        if "shared_memory_region" not in parameters:
            return None
        name = parameters["shared_memory_region"].string_param
        if name not in self.memory:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Unable to find shared memory region: '{name}'")
        start = parameters["shared_memory_offset"].int64_param if "shared_memory_offset" in parameters else 0
        return memoryview(self.memory[name][1])[start : start + parameters["shared_memory_byte_size"].int64_param]

    def SystemSharedMemoryRegister(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        if request.name in self.memory:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"shared memory region '{request.name}' already in manager")
        try:
            with open(f"/dev/shm{request.key}", "r+b") as f:
                self.memory[request.name] = (request.key, mmap.mmap(f.fileno(), request.byte_size))
        except OSError as error:
            context.abort(grpc.StatusCode.INTERNAL, f"Unable to open shared memory region: '{request.key}': {error}")
        return service_pb2.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.memory.pop(request.name, None)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    def SystemSharedMemoryStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        answer = service_pb2.SystemSharedMemoryStatusResponse()
        for name, (key, memory) in self.memory.items():
            region = service_pb2.SystemSharedMemoryStatusResponse.RegionStatus(
                name=name, key=key, byte_size=len(memory)
            )
            answer.regions[name].CopyFrom(region)
        return answer


def serve(servicer: Servicer, port: int = 0) -> tuple[grpc.Server, int]:
    """A started server on loopback, and its port."""
    server = grpc.server(
        ThreadPoolExecutor(4),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    assert bound
    server.start()
    return server, bound


if __name__ == "__main__":
    started, number = serve(Servicer(Path(sys.argv[1])), int(sys.argv[2]))
    print(number, flush=True)
    started.wait_for_termination()
