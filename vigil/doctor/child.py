"""What may crash, hang or load gigabytes is tried in a process of its own: devices, and models.

`main` is that process: it reads a question as JSON, writes the answer as JSON, and ends.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

from ingest.errors import VigilError

# What libraries print belongs to nobody; the last lines tell how a process died.
LAST_WORDS = 300


class DiedError(VigilError):
    """The process ended without an answer."""

    code = "doctor.died"


class SlowError(VigilError):
    """There was no answer in time."""

    code = "doctor.slow"


async def ask(question: str, timeout_s: float, **data: Any) -> dict[str, Any]:
    """What a function of `ANSWERS` returns.

    Raises:
        DiedError, SlowError
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, question,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout_s):
            told, said = await process.communicate(json.dumps(data).encode())
    except TimeoutError:
        raise SlowError(f"no answer within {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = said.decode(errors="replace").strip()[-LAST_WORDS:]
        how = signal.Signals(-process.returncode).name if process.returncode < 0 else f"exit code {process.returncode}"
        raise DiedError(f"its process ended with {how}: {words.splitlines()[-1] if words else 'no output'}")
    answer: dict[str, Any] = json.loads(told.splitlines()[-1])
    return answer


def devices(decoders: list[str], gpu: bool) -> dict[str, Any]:
    """`decoders` by ingest.decoders' names; PyTorch is only loaded for a `gpu`."""
    from inference.devices import cuda_devices, openvino_devices
    from ingest.decoders import hardware

    # FFmpeg starts CUDA before PyTorch does (`hold_gpu` says why).
    found = hardware(tuple(decoders))
    cuda, no_cuda = cuda_devices() if gpu else ({}, "no NVIDIA GPU")
    return {"openvino": openvino_devices(), "cuda": cuda, "no_cuda": no_cuda, "decoders": found}


def model(path: str, detector: dict[str, Any]) -> dict[str, Any]:
    """Loads the model as a detector would, with the first runtime that can, and looks at one blank picture."""
    from pathlib import Path

    from inference.config import DetectorConfig
    from inference.errors import ModelError
    from inference.runtimes import load_named
    from inference.runtimes.auto import candidates, devices

    config = DetectorConfig.model_validate(detector)
    weights = Path(path)
    failures = []
    for device in devices(config.device):
        named = [config.runtime] if config.runtime != "auto" else candidates(weights, device, config.precision)
        for runtime in named:
            try:
                loaded = load_named(runtime, weights, config.model_copy(update={"device": device}))
            except ModelError as error:
                failures.append(str(error))
                continue
            info = loaded.info
            return {"name": info.name, "runtime": info.runtime, "device": info.device, "precision": info.precision,
                    "classes": len(info.names)}  # fmt: skip
    return {"error": failures[-1] if failures else f"no runtime that is installed computes {weights.name}"}


ANSWERS: dict[str, Callable[..., dict[str, Any]]] = {"devices": devices, "model": model}


def main() -> None:
    answer = ANSWERS[sys.argv[1]](**json.load(sys.stdin))
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
