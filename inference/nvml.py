"""What NVIDIA's management library tells of this machine's GPUs: how busy, full, hot and slowed down they are.

Its Python module is the package nvidia-ml-py (`pip install 'vigil-video[gpu]'`). Calls may take long when the driver is
in trouble: they are for a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from inference.devices import nvidia_gpu

log = structlog.get_logger()

# Reasons for low clocks that somebody can do something about; an idle GPU and clocks set by hand are none.
THROTTLES = {
    "power_cap": "nvmlClocksThrottleReasonSwPowerCap",
    "power_brake": "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
    "heat": "nvmlClocksThrottleReasonSwThermalSlowdown",
    "heat_hardware": "nvmlClocksThrottleReasonHwThermalSlowdown",
    "hardware": "nvmlClocksThrottleReasonHwSlowdown",
}


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU at one moment; None: this GPU, or its driver, does not tell.

    Attributes:
        gpu: its number, as in `cuda:0` where CUDA_VISIBLE_DEVICES hides none.
        busy, decoder_busy, encoder_busy: shares of the last moment, 0 to 1.
        throttled: names of `THROTTLES` that apply.
    """

    gpu: int
    name: str
    uuid: str
    driver: str
    busy: float | None
    decoder_busy: float | None
    encoder_busy: float | None
    memory_used_bytes: int | None
    memory_bytes: int | None
    temperature_c: float | None
    power_w: float | None
    power_limit_w: float | None
    throttled: frozenset[str] | None


class Nvml:
    """The library, once it is loaded. For one thread at a time."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._told: set[str] = set()

    @classmethod
    def open(cls, root: Path = Path("/")) -> Nvml | None:
        """None where there is no NVIDIA GPU, or nothing to ask about it with, which is told."""
        if not nvidia_gpu(root):
            return None
        try:
            import pynvml  # NVIDIA's: needed where there is a GPU only
        except ImportError:
            log.warning("no metrics of the GPU: nvidia-ml-py is not installed: pip install 'vigil-video[gpu]'")
            return None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            log.warning("no metrics of the GPU: NVIDIA's management library does not work", error=str(error))
            return None
        return cls(pynvml)

    def read(self) -> list[GpuReading]:
        """All GPUs that answer."""
        count = self._asked("the number of GPUs", self._library.nvmlDeviceGetCount)
        readings = (self._read(number) for number in range(count or 0))
        return [reading for reading in readings if reading is not None]

    def close(self) -> None:
        self._asked("the end", self._library.nvmlShutdown)

    def _read(self, number: int) -> GpuReading | None:
        nvml = self._library
        handle = self._asked(f"GPU {number}", nvml.nvmlDeviceGetHandleByIndex, number)
        if handle is None:
            return None

        def ask(function: Callable[..., Any], *more: Any) -> Any:
            return self._asked(f"GPU {number}", function, handle, *more)

        busy = ask(nvml.nvmlDeviceGetUtilizationRates)
        decoder, encoder = ask(nvml.nvmlDeviceGetDecoderUtilization), ask(nvml.nvmlDeviceGetEncoderUtilization)
        memory = ask(nvml.nvmlDeviceGetMemoryInfo)
        power, limit = ask(nvml.nvmlDeviceGetPowerUsage), ask(nvml.nvmlDeviceGetEnforcedPowerLimit)
        reasons = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        return GpuReading(
            gpu=number,
            name=_text(ask(nvml.nvmlDeviceGetName)),
            uuid=_text(ask(nvml.nvmlDeviceGetUUID)),
            driver=_text(self._asked("the driver", nvml.nvmlSystemGetDriverVersion)),
            busy=None if busy is None else busy.gpu / 100,
            decoder_busy=None if decoder is None else decoder[0] / 100,
            encoder_busy=None if encoder is None else encoder[0] / 100,
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_bytes=None if memory is None else int(memory.total),
            temperature_c=ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
            power_w=None if power is None else power / 1000,
            power_limit_w=None if limit is None else limit / 1000,
            throttled=None if reasons is None else frozenset(
                name for name, bit in THROTTLES.items() if reasons & getattr(nvml, bit)
            ),
        )  # fmt: skip

    def _asked(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """The answer; None where there is none. What is not simply unsupported is told, once for each GPU."""
        nvml = self._library
        try:
            answer = function(*arguments)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound, nvml.NVMLError_NoPermission):
            return None
        except nvml.NVMLError as error:
            if what not in self._told:
                self._told.add(what)
                log.warning("NVIDIA's management library does not answer", about=what, error=str(error))
            return None
        return answer


def _text(told: Any) -> str:
    """Old versions of the module give bytes."""
    return told.decode() if isinstance(told, bytes) else str(told or "unknown")
