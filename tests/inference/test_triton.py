"""Models on a server that speaks Triton's protocol: asked what they are, fed, lost and found again."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml
from google.protobuf import text_format
from numpy.typing import NDArray
from pydantic import ValidationError
from structlog.testing import capture_logs
from tritonclient.grpc import model_config_pb2

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.model import STARTER, find_model
from inference.runtimes import Runtime, load_runtime
from inference.runtimes.triton_model import Address
from tests.inference.kserve import Servicer, serve

ROOT = Path(__file__).resolve().parents[2]
METADATA = {"task": "detect", "names": "{0: 'person', 1: 'car'}", "stride": "32"}

Start = Callable[..., tuple[Servicer, int]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers: `start(parameters=…)`."""
    servers = []

    def started(port: int = 0, path: Path = STARTER, **settings: Any) -> tuple[Servicer, int]:
        servicer = Servicer(path, **settings)
        server, bound = serve(servicer, port)
        servers.append(server)
        return servicer, bound

    yield started
    for server in servers:
        server.stop(0)


def load(port: int, model: str = "starter", **settings: Any) -> Runtime:
    triton = {"timeout": 5, **settings.pop("triton", {})}
    config = DetectorConfig.model_validate(
        {"model": f"triton://127.0.0.1:{port}/{model}", "image_size": 320, "triton": triton, **settings}
    )
    return load_runtime(find_model(config.model)[0], config)


def noise(count: int = 1, height: int = 128, width: int = 160) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(1).integers(0, 255, (count, height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def local() -> Runtime:
    return load_runtime(STARTER, DetectorConfig(runtime="onnx", device="cpu", image_size=320))


@pytest.mark.parametrize("shared_memory", [False, True])
def test_a_served_model_computes_what_it_computes_here(start: Start, local: Runtime, shared_memory: bool) -> None:
    servicer, port = start()
    runtime = load(port, triton={"shared_memory": shared_memory})
    assert (runtime.info.names, runtime.info.head, runtime.info.input) == (
        local.info.names, local.info.head, local.info.input,
    )  # fmt: skip
    assert (runtime.info.name, runtime.info.device, runtime.info.precision) == ("starter", f"127.0.0.1:{port}", "fp32")
    for height, width, count in [(128, 160, 1), (192, 320, 8), (128, 160, 3)]:
        runtime.prepare(height, width)
        pictures = noise(count, height, width)
        (found,) = runtime.infer(pictures)
        assert found.dtype == np.float32
        for ours, picture in zip(found, pictures, strict=True):
            np.testing.assert_allclose(ours, local.infer([picture])[0][0], rtol=1e-3, atol=2e-2)
    # The pixels went the way that was asked for.
    assert bool(servicer.requests[-1].raw_input_contents) is not shared_memory
    assert bool(servicer.memory) is shared_memory


@pytest.mark.parametrize("shared_memory", [False, True])
def test_threads_do_not_mix_their_pictures(start: Start, local: Runtime, shared_memory: bool) -> None:
    _, port = start()
    runtime = load(port, triton={"shared_memory": shared_memory})
    runtime.prepare(128, 160)
    wrong: list[Any] = []

    def work(seed: int) -> None:
        picture = np.random.default_rng(seed).integers(0, 255, (128, 160, 3), dtype=np.uint8)
        expected = local.infer([picture])[0][0]
        for _ in range(10):
            found = runtime.infer([picture])[0][0]
            if not np.allclose(found, expected, rtol=1e-3, atol=2e-2):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_batches_and_requests_are_as_the_server_says(start: Start) -> None:
    servicer, port = start(max_batch=4)
    servicer.instances = 2
    runtime = load(port)
    assert (runtime.max_batch, runtime.parallel) == (4, 3)


@pytest.mark.parametrize(
    "parameters",
    [METADATA, {"metadata": str(METADATA)}, {"metadata": str(METADATA | {"names": {0: "person", 1: "car"}})},
     {"metadata": '{"task": "detect", "names": "{0: \'person\', 1: \'car\'}", "stride": 32}'}],
    ids=["one by one", "as text", "as Python", "as JSON"],
)  # fmt: skip
def test_the_models_configuration_says_what_it_is(start: Start, parameters: dict[str, str]) -> None:
    _, port = start(parameters=parameters)
    assert load(port).info.names == ("person", "car")


def test_the_documented_configuration_says_what_it_is(start: Start) -> None:
    (text,) = re.findall(r"```\n(parameters .*?)```", (ROOT / "docs" / "runtimes.md").read_text(), re.DOTALL)
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    _, port = start(parameters={key: value.string_value for key, value in config.parameters.items()})
    assert load(port).info.names == ("person", "car")


def test_a_sidecar_says_it_where_the_configuration_does_not(start: Start, tmp_path: Path) -> None:
    _, port = start(parameters={})
    with pytest.raises(
        ModelError, match=r"starter at .* does not say the names of its classes.*detector.triton.sidecar"
    ):
        load(port)
    sidecar = tmp_path / "sidecar.yaml"
    sidecar.write_text(yaml.safe_dump({"head": "yolo", "names": ["cat"], "color": "bgr"}))
    info = load(port, triton={"sidecar": str(sidecar)}).info
    assert (info.names, info.input.color) == (("cat",), "bgr")


def test_another_configuration_is_another_hash(start: Start) -> None:
    hashes = [load(start(parameters=parameters)[1]).info.hash for parameters in (METADATA, METADATA | {"stride": "64"})]
    assert hashes[0] != hashes[1]


def test_a_server_that_is_killed_and_comes_back_is_used_again(local: Runtime) -> None:
    def run(port: int) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.inference.kserve", str(STARTER), str(port)], cwd=ROOT, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    process, port = run(0)
    try:
        runtime = load(port, triton={"timeout": 0.5, "shared_memory": True})
        runtime.prepare(128, 160)
        (picture,) = noise()
        expected = local.infer([picture])[0]
        np.testing.assert_allclose(runtime.infer([picture])[0], expected, rtol=1e-3, atol=2e-2)
        process.kill()
        process.wait()
        with capture_logs() as logs:
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(ModelError, match=r"starter at .* failed: unavailable"):
                    runtime.infer([picture])
                assert time.monotonic() - began < 5
            process, _ = run(port)
            ends = time.monotonic() + 10
            while True:
                try:
                    found = runtime.infer([picture])[0]
                    break
                except ModelError:
                    assert time.monotonic() < ends
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-2)
        assert [line["event"] for line in logs] == ["the Triton server is away", "the Triton server is back"]
    finally:
        process.kill()
        process.wait()


def test_a_short_absence_is_not_noticed(start: Start) -> None:
    servicer = Servicer(STARTER)
    server, port = serve(servicer)
    runtime = load(port, triton={"timeout": 5})
    runtime.prepare(128, 160)
    server.stop(0).wait()
    threading.Timer(0.5, lambda: start(port=port)).start()
    assert len(runtime.infer(noise())[0]) == 1


def test_an_answer_that_takes_too_long_is_an_error_once_the_size_is_prepared(start: Start) -> None:
    servicer, port = start(max_batch=1)
    servicer.delay_s = 1.2
    runtime = load(port, triton={"timeout": 0.4})
    with pytest.raises(ModelError, match="starter at .* failed: deadline exceeded"):
        runtime.infer(noise(1, 320, 320))


def test_what_is_wrong_is_named(start: Start) -> None:
    _, port = start()
    with pytest.raises(ModelError, match=f"no model 'other' from Triton at 127.0.0.1:{port}: not found: Request for"):
        load(port, "other")
    with pytest.raises(ModelError, match="no model 'starter' .*not found: .* version '7'"):
        load(port, "starter/7")
    with pytest.raises(ModelError, match="takes fp32, not fp16"):
        load(port, precision="fp16")
    with pytest.raises(ModelError, match="the Triton server decides where it computes, not 'cuda'"):
        load(port, device="cuda")
    assert load(port, "starter/1").info.name == "starter"


def test_no_server_is_told_in_time() -> None:
    began = time.monotonic()
    with pytest.raises(ModelError, match="no model 'starter' from Triton at 127.0.0.1:1: unavailable"):
        load(1, triton={"timeout": 0.5})
    assert time.monotonic() - began < 10


def test_memory_that_cannot_be_shared_is_told(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    servicer, port = start()

    def refuse(request: Any, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.INTERNAL, "Unable to open shared memory region: '/x'")

    monkeypatch.setattr(servicer, "SystemSharedMemoryRegister", refuse)
    server, port = serve(servicer)
    with pytest.raises(ModelError, match=r"detector.triton.shared_memory: .* refuses: internal: Unable to"):
        load(port, triton={"shared_memory": True})
    server.stop(0)


def test_no_memory_is_left_behind(start: Start) -> None:
    def names() -> set[str]:
        return {file.name for file in Path("/dev/shm").glob("vigil-*")}

    before = names()
    servicer, port = start()
    runtime = load(port, triton={"shared_memory": True})
    runtime.infer(noise(1, 320, 320))
    assert names() == before
    (region,) = servicer.memory
    # One of a process that is no more goes when the next starts; one of a process that lives stays, as do others'.
    dead = [*region.split("-")[:2], "4194305", "0"]
    servicer.memory["-".join(dead)] = servicer.memory["somebodys"] = servicer.memory[region]
    load(port, triton={"shared_memory": True})
    assert {region, "somebodys"} < set(servicer.memory)
    assert "-".join(dead) not in servicer.memory


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("triton://gpu-1/yolo", Address("gpu-1:8001", "yolo")),
        ("triton://10.0.0.7:9001/yolo/3", Address("10.0.0.7:9001", "yolo", "3")),
        ("TRITON://[::1]:8001/yolo/", Address("[::1]:8001", "yolo")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert DetectorConfig(model=text, runtime="triton").model == text


@pytest.mark.parametrize(
    ("model", "runtime", "said"),
    [
        ("triton://gpu-1", "triton", "is not triton://host:8001/model"),
        ("triton:///yolo", "auto", "is not triton://host:8001/model"),
        ("triton://gpu-1/a/b/c", "auto", "is not triton://host:8001/model"),
        ("triton://gpu-1:port/yolo", "auto", "is not triton://host:8001/model"),
        ("triton://gpu-1/yolo/latest", "auto", "the version of a Triton model is a number, not 'latest'"),
        ("triton://gpu-1/yolo", "openvino", "do not go together"),
        ("yolo.onnx", "triton", "do not go together"),
    ],
)
def test_what_does_not_go_together_is_refused_by_the_config(model: str, runtime: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DetectorConfig(model=model, runtime=runtime)


def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        DetectorConfig(model="triton://user:hunter2@gpu-1/yolo")
    (error,) = caught.value.errors()
    assert "hunter2" not in error["msg"]
