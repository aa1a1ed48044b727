"""What this machine can compute on. Loads the libraries and starts the devices."""

from __future__ import annotations

import json
import os
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# An NVIDIA GPU's: the driver's, the driver's of Windows as WSL 2 shows it, Tegra's.
GPU_FILES = ("dev/nvidia[0-9]*", "usr/lib/wsl/lib/libcuda.so.1", "dev/nvmap")
# What OpenVINO's fast kernels are written for; without them it computes several times slower.
FAST_CPU = ("avx2", "asimd")
# What computes bf16, the fast way first: twice as fast as fp32 or better (docs/runtimes.md).
BF16_CPU = ("amx_bf16", "bf16", "avx512_bf16")
# Without AMX, int8 is twice as fast as floats with these.
INT8_CPU = ("avx512_vnni", "avx_vnni")


def nvidia_gpu(root: Path = Path("/")) -> bool:
    """Whether there is an NVIDIA GPU, without the seconds that it takes to load what can use it."""
    return any(found for pattern in GPU_FILES for found in root.glob(pattern))


def value_in(file: Path, name: str) -> str:
    """The value of the first `name: value` line of one of the kernel's files; empty where there is none."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return ""
    return next((value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == name), "")


def cpu_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """What the kernel says that every core can do."""
    return frozenset((value_in(cpuinfo, "flags") or value_in(cpuinfo, "Features")).split())


def this_cpu() -> str:
    """What this CPU's speed depends on: virtual machines hide instructions, and often the model's name."""
    return json.dumps([value_in(CPUINFO, "model name"), sorted(cpu_flags()), len(os.sched_getaffinity(0))])


def openvino_devices() -> dict[str, str]:
    """OpenVINO's devices by its names, with the hardware's."""
    import openvino

    core = openvino.Core()
    return {name: str(core.get_property(name, "FULL_DEVICE_NAME")) for name in core.available_devices}


def cuda_devices() -> tuple[dict[str, str], str | None]:
    """GPUs as `detector.device` names them, with what they are; or why PyTorch can use none."""
    import torch

    if not torch.version.cuda:
        return {}, "this PyTorch was built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return {}, str(error).splitlines()[0]
    devices = {}
    for index in range(torch.cuda.device_count()):
        told = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{told.name}, {told.total_memory >> 20} MiB, CUDA {torch.version.cuda}"
    return devices, None
