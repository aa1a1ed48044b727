"""NVIDIA's decoders: one that FFmpeg can use, or the reason why there is none."""

from __future__ import annotations

import av
import av.error
from av.codec.hwaccel import HWAccel

# Any codec that NVDEC knows will do to try the device.
PROBE_CODEC = "h264"


def gpu_decoder(gpu: int) -> tuple[HWAccel | None, str | None]:
    """FFmpeg's settings to decode on GPU number `gpu` and leave the frames in its memory, or why that cannot be.

    They use the device's primary context, as PyTorch does, so that the frames' memory is PyTorch's to read. A codec or
    profile that the GPU does not know is decoded by the CPU; the frame's format tells.
    """
    accelerator = HWAccel("cuda", str(gpu), allow_software_fallback=True, is_hw_owned=True)
    try:
        accelerator.create(av.Codec(PROBE_CODEC, "r"))
    except (av.error.FFmpegError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        return None, (
            f"FFmpeg cannot use GPU {gpu} ({error}): it needs NVIDIA's driver and, in a container, the capability "
            "'video' (NVIDIA_DRIVER_CAPABILITIES)"
        )
    return accelerator, None
