"""NVIDIA's decoders: one that FFmpeg can use, or the reason why there is none."""

from __future__ import annotations

import threading

import av
import av.error
from av.codec.hwaccel import HWAccel

# Any codec that NVDEC knows will do to try the device.
PROBE_CODEC = "h264"

_holding = threading.Lock()
_held: dict[int, HWAccel] = {}


def hold_gpu(gpu: int) -> str | None:
    """Starts CUDA on GPU number `gpu` for FFmpeg and keeps it; says why that cannot be, if so. Repeating it is free.

    To be called before PyTorch starts CUDA in a process that decodes: FFmpeg and PyTorch share the device's primary
    context, so that frames are PyTorch's to read, and FFmpeg refuses one that was made with other flags than its own
    (`cuda_context_init` in its hwcontext_cuda.c wants CU_CTX_SCHED_BLOCKING_SYNC). PyTorch takes any.
    """
    with _holding:
        if gpu not in _held:
            try:
                _held[gpu] = _settings(gpu).create(av.Codec(PROBE_CODEC, "r"))
            except (av.error.FFmpegError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
                return (
                    f"FFmpeg cannot use GPU {gpu} ({error}): it needs NVIDIA's driver, in a container the capability "
                    "'video' (NVIDIA_DRIVER_CAPABILITIES), and CUDA not to have been started otherwise in its process"
                )
    return None


def gpu_decoder(gpu: int) -> tuple[HWAccel | None, str | None]:
    """FFmpeg's settings to decode on GPU number `gpu` and leave the frames in its memory, or why that cannot be.

    A codec or profile that the GPU does not know is decoded by the CPU; the frame's format tells.
    """
    reason = hold_gpu(gpu)
    return (None, reason) if reason else (_settings(gpu), None)


def _settings(gpu: int) -> HWAccel:
    return HWAccel("cuda", str(gpu), allow_software_fallback=True, is_hw_owned=True)
