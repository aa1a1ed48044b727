"""What this machine can compute on. Loads the libraries and starts the devices."""

from __future__ import annotations

from pathlib import Path

# What OpenVINO's fast kernels are written for; without them it computes several times slower.
FAST_CPU = ("avx2", "asimd")
# What computes bf16, the fast way first: twice as fast as fp32 or better (docs/runtimes.md).
BF16_CPU = ("amx_bf16", "bf16", "avx512_bf16")
# Without AMX, int8 is twice as fast as floats with these.
INT8_CPU = ("avx512_vnni", "avx_vnni")


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the kernel says that every core can do."""
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


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
