"""GPU readings, from NVIDIA's own Python module with the C library below it replaced: no GPU is needed or used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from inference.metrics import GpuCollector
from inference.nvml import THROTTLES, Nvml

pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")


def refuses(error: type[Exception], code: int) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise error(code)

    return refuse


NOT_SUPPORTED = refuses(pynvml.NVMLError_NotSupported, pynvml.NVML_ERROR_NOT_SUPPORTED)
LOST = refuses(pynvml.NVMLError_GpuIsLost, pynvml.NVML_ERROR_GPU_IS_LOST)
ANSWERS: dict[str, Callable[..., Any]] = {
    "nvmlInit": lambda: None,
    "nvmlShutdown": lambda: None,
    "nvmlSystemGetDriverVersion": lambda: b"570.86",
    "nvmlDeviceGetCount": lambda: 2,
    "nvmlDeviceGetHandleByIndex": lambda index: index,
    "nvmlDeviceGetName": lambda gpu: "L4",
    "nvmlDeviceGetUUID": lambda gpu: f"GPU-{gpu}",
    "nvmlDeviceGetUtilizationRates": lambda gpu: SimpleNamespace(gpu=87, memory=20),
    "nvmlDeviceGetDecoderUtilization": lambda gpu: [55, 167000],
    "nvmlDeviceGetEncoderUtilization": lambda gpu: [0, 167000],
    "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(total=24 << 30, used=6 << 30, free=18 << 30),
    "nvmlDeviceGetTemperature": lambda gpu, sensor: {pynvml.NVML_TEMPERATURE_GPU: 71}[sensor],
    "nvmlDeviceGetPowerUsage": lambda gpu: 65400,
    "nvmlDeviceGetEnforcedPowerLimit": lambda gpu: 72000,
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu: (
        pynvml.nvmlClocksThrottleReasonGpuIdle | pynvml.nvmlClocksThrottleReasonSwThermalSlowdown
    ),
}


def have_gpu(root: Path) -> None:
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev/nvidia0").touch()


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Nvml | None]:
    """Opens a library that answers as `ANSWERS`, but for what is given."""

    def opened(**answers: Callable[..., Any]) -> Nvml | None:
        have_gpu(tmp_path)
        for name, answer in {**ANSWERS, **answers}.items():
            monkeypatch.setattr(pynvml, name, answer)  # a name that the module does not have is an error
        return Nvml.open(tmp_path)

    return opened


def told(nvml: Nvml) -> dict[str, float | None]:
    """The first GPU's metrics, without their prefix."""
    registry, gpus = CollectorRegistry(), GpuCollector()
    registry.register(gpus)
    gpus.readings = nvml.read()
    names = ("busy_ratio", "decoder_busy_ratio", "encoder_busy_ratio", "memory_used_bytes", "memory_bytes",
             "temperature_celsius", "power_watts", "power_limit_watts")  # fmt: skip
    values = {name: registry.get_sample_value(f"vigil_gpu_{name}", {"gpu": "0"}) for name in names}
    for reason in THROTTLES:
        values[reason] = registry.get_sample_value("vigil_gpu_throttled", {"gpu": "0", "reason": reason})
    return values


def test_a_gpu_tells_all_of_itself(nvml: Callable[..., Nvml]) -> None:
    opened = nvml()
    assert told(opened) == {
        "busy_ratio": 0.87, "decoder_busy_ratio": 0.55, "encoder_busy_ratio": 0, "memory_used_bytes": 6 << 30,
        "memory_bytes": 24 << 30, "temperature_celsius": 71, "power_watts": 65.4, "power_limit_watts": 72,
        "heat": 1, "heat_hardware": 0, "hardware": 0, "power_cap": 0, "power_brake": 0,
    }  # fmt: skip
    first, second = opened.read()
    assert (first.name, first.uuid, first.driver) == ("L4", "GPU-0", "570.86")
    assert (second.gpu, second.uuid) == (1, "GPU-1")
    opened.close()


def test_what_a_gpu_does_not_tell_is_not_there_and_no_news(nvml: Callable[..., Nvml]) -> None:
    with capture_logs() as logs:
        values = told(nvml(
            nvmlDeviceGetUtilizationRates=NOT_SUPPORTED, nvmlDeviceGetDecoderUtilization=NOT_SUPPORTED,
            nvmlDeviceGetEnforcedPowerLimit=NOT_SUPPORTED, nvmlDeviceGetCurrentClocksThrottleReasons=NOT_SUPPORTED,
        ))  # fmt: skip
    known = {name for name, value in values.items() if value is not None}
    assert known == {"encoder_busy_ratio", "memory_used_bytes", "memory_bytes", "temperature_celsius", "power_watts"}
    assert not logs


def test_a_gpu_that_is_lost_is_told_once_and_the_other_goes_on(nvml: Callable[..., Nvml]) -> None:
    opened = nvml(nvmlDeviceGetHandleByIndex=lambda index: LOST() if index == 0 else index)
    with capture_logs() as logs:
        readings = [opened.read() for _ in range(3)]
    assert [[gpu.gpu for gpu in reading] for reading in readings] == [[1]] * 3
    assert [(entry["log_level"], entry["about"]) for entry in logs] == [("warning", "GPU 0")]


def test_without_a_gpu_nothing_is_loaded_or_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it fails
    with capture_logs() as logs:
        assert Nvml.open(tmp_path) is None
    assert not logs
    have_gpu(tmp_path)
    with capture_logs() as logs:
        assert Nvml.open(tmp_path) is None
    assert "pip install" in logs[0]["event"]


def test_a_library_that_does_not_work_is_told(nvml: Callable[..., Nvml | None]) -> None:
    missing = refuses(pynvml.NVMLError_DriverNotLoaded, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    with capture_logs() as logs:
        assert nvml(nvmlInit=missing) is None
    assert "does not work" in logs[0]["event"] and logs[0]["error"]
