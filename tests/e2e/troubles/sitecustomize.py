"""Put on a service's PYTHONPATH: two GPUs that are not there, and troubles that a test cannot make from outside.

A trouble lasts while there is a file of its name in the folder $TROUBLES: `inference` (every other one fails), `slow`
(each takes more than a second), `disk` (full), `samples` (more of a metric than are told) and `gpu` (the first has no
time and no memory left, and is hot). GPUs are asked about by NVIDIA's own Python module; what it loads is `Library`.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["TROUBLES"])
# A device that is slow has no time left, and takes no CPU.
SLOW_S = 1.2
FEW_SAMPLES = 20


def ails(trouble: str) -> bool:
    return (FOLDER / trouble).exists()


class Library:
    """What stands for libnvidia-ml.so.1: its functions, which write what they tell to where they are told to."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        try:
            tell = TELLS[name.removesuffix("_v2")]
        except KeyError:
            raise AttributeError(name) from None

        def function(*arguments: Any) -> int:
            tell(*arguments)
            return 0  # NVML_SUCCESS

        return function


def text(told: bytes) -> Callable[..., None]:
    return lambda *arguments: setattr(arguments[-2], "value", told)


def number(well: int, ill: int | None = None) -> Callable[..., None]:
    """Of a GPU; `ill`: of the first one while it ails."""
    return lambda gpu, *told: setattr(told[-1]._obj, "value", ill if ill is not None and is_ill(gpu) else well)


def is_ill(gpu: Any) -> bool:
    return ctypes.cast(gpu, ctypes.c_void_p).value == 1 and ails("gpu")


def handle(index: Any, told: Any) -> None:
    """Handles are pointers to what nobody looks at: here the GPU's number, from 1."""
    ctypes.memmove(ctypes.addressof(told._obj), ctypes.byref(ctypes.c_void_p(index.value + 1)), 8)


def rates(gpu: Any, told: Any) -> None:
    told._obj.gpu, told._obj.memory = 99 if is_ill(gpu) else 40, 10


def memory(gpu: Any, told: Any) -> None:
    told._obj.total, told._obj.used = 24 << 30, (24 << 30) - (1 << 28) if is_ill(gpu) else 6 << 30


def codec(gpu: Any, busy: Any, period_us: Any) -> None:
    busy._obj.value, period_us._obj.value = 20, 167_000


TELLS: dict[str, Callable[..., Any]] = {
    "nvmlInitWithFlags": lambda flags: None,
    "nvmlShutdown": lambda: None,
    "nvmlSystemGetDriverVersion": text(b"570.86"),
    "nvmlDeviceGetCount": lambda told: setattr(told._obj, "value", 2),
    "nvmlDeviceGetHandleByIndex": handle,
    "nvmlDeviceGetName": text(b"L4"),
    "nvmlDeviceGetUUID": text(b"GPU-0"),
    "nvmlDeviceGetUtilizationRates": rates,
    "nvmlDeviceGetDecoderUtilization": codec,
    "nvmlDeviceGetEncoderUtilization": codec,
    "nvmlDeviceGetMemoryInfo": memory,
    "nvmlDeviceGetTemperature": number(45, ill=92),
    "nvmlDeviceGetPowerUsage": number(65_400),
    "nvmlDeviceGetEnforcedPowerLimit": number(72_000),
    "nvmlDeviceGetCurrentClocksThrottleReasons": number(0x1, ill=0x20),  # idle; too hot, and slowed down by software
}

Disk = namedtuple("Disk", "total used free")


def trouble_the_supervisor() -> None:
    import pynvml

    import publish.metrics
    import vigil.metrics
    from inference.nvml import Nvml

    pynvml.nvmlLib = Library()
    (FOLDER / "dev").mkdir(exist_ok=True)
    (FOLDER / "dev/nvidia0").touch()
    Nvml.open.__func__.__defaults__ = (FOLDER,)  # type: ignore[attr-defined]
    usage, bounded = vigil.metrics.shutil.disk_usage, publish.metrics._bounded

    def disk_usage(folder: Path) -> Any:
        return Disk(100, 99, 1) if ails("disk") else usage(folder)

    def few(samples: Any) -> Any:
        publish.metrics.MOST_SAMPLES = FEW_SAMPLES if ails("samples") else 10_000
        return bounded(samples)

    vigil.metrics.shutil.disk_usage = disk_usage  # type: ignore[assignment]
    publish.metrics._bounded = few


def trouble_detectors() -> None:
    """They are forked from the fork server."""
    import inference.detector

    calls = itertools.count()
    detect = inference.detector.detect_on_device

    def troubled(*arguments: Any) -> Any:
        if ails("inference") and next(calls) % 2:
            raise RuntimeError("the device has been unplugged")
        if ails("slow"):
            time.sleep(SLOW_S)
        return detect(*arguments)

    inference.detector.detect_on_device = troubled


if "vigil.cli" in sys.orig_argv:
    trouble_the_supervisor()
elif "vigil.forkserver" in sys.orig_argv:
    trouble_detectors()
