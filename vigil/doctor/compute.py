"""What computes and decodes: the CPU, GPUs, decoders, and the models on them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from inference.config import DetectorConfig
from inference.devices import BF16_CPU, FAST_CPU, INT8_CPU, cpu_flags, nvidia_gpu
from inference.errors import ModelError
from inference.model import at_hand
from inference.runtimes.triton_model import is_triton
from ingest.decoders import undecodable
from ingest.redact import redact
from vigil.config import VigilConfig
from vigil.doctor.child import DiedError, SlowError, ask
from vigil.doctor.finding import Finding, Installation, fail, not_applicable, ok, warn

DEVICES_S = 8.0
# A .pt file's first conversion takes longer; the service waits for it.
MODEL_S = 8.5

_NO_GPU = (
    "install NVIDIA's driver; in a container its Container Toolkit and `--gpus all` (docs/gpu.md), or set "
    "`detector.device: cpu`"
)


def cpu(_: Installation) -> list[Finding]:
    return [judge_cpu(cpu_flags())]


def judge_cpu(flags: frozenset[str]) -> Finding:
    if not flags.intersection(FAST_CPU):
        seen = "the CPU shows no AVX2: inference is several times slower than it could be"
        return warn("cpu", seen, "give a virtual machine the host's CPU model (`host-passthrough`), or use a GPU")
    found = ", ".join(name for name in (*FAST_CPU, "avx512f", *INT8_CPU, *BF16_CPU) if name in flags)
    if "amx_bf16" not in flags and flags.intersection(INT8_CPU):
        return ok("cpu", f"{found}; no AMX: `detector.precision: int8` is about twice as fast (docs/runtimes.md)")
    return ok("cpu", f"{found}{'' if flags.intersection(BF16_CPU) else '; no bf16'}")


async def devices(installation: Installation) -> list[Finding]:
    """OpenVINO's devices, GPUs, and hardware decoders."""
    config = installation.config
    gpu = nvidia_gpu()
    wanted = {stream.decoder for stream in config.streams.values()}
    there = {"nvdec": gpu, "vaapi": _render_node()}
    decoders = [name for name, found in there.items() if found or name in wanted]
    try:
        told = await ask("devices", DEVICES_S, decoders=decoders, gpu=gpu)
    except (DiedError, SlowError) as error:
        return [fail("devices", f"looking at the devices: {error}", "reinstall OpenVINO and PyTorch, or the driver")]
    return [
        _openvino(told["openvino"]),
        judge_gpu(told["cuda"], told["no_cuda"], gpu, _wants_gpu(config)),
        *(_decoder(name, reason, name in wanted) for name, reason in told["decoders"].items()),
    ]


def _render_node() -> bool:
    return any(Path("/dev/dri").glob("renderD*"))


def _openvino(found: dict[str, str]) -> Finding:
    if not found:
        return fail("openvino", "OpenVINO finds no device, not even the CPU", "reinstall it: pip install openvino")
    return ok("openvino", ", ".join(f"{name} ({title})" for name, title in found.items()))


def _wants_gpu(config: VigilConfig) -> bool:
    named = [config.detector, *(config.detector_settings(name) for name in config.detectors)]
    return any(device.startswith("cuda") for one in named for device in (one.devices or [one.device]))


def judge_gpu(found: dict[str, str], reason: str | None, present: bool, wanted: bool) -> Finding:
    if found:
        return ok("gpu", "; ".join(f"{name}: {title}" for name, title in found.items()))
    if wanted:
        return fail("gpu", f"the config wants one, and there is none: {reason}", _NO_GPU)
    if present:
        return warn("gpu", f"there is one, and PyTorch cannot use it: {reason}", _NO_GPU)
    return not_applicable("gpu", "no NVIDIA GPU; the CPU computes")


def _decoder(name: str, reason: str | None, wanted: bool) -> Finding:
    if reason is None:
        return ok(f"decoder.{name}", "can be used")
    mend = f"mend that, or set `decoder: cpu` where streams have `decoder: {name}`"
    return (fail if wanted else warn)(f"decoder.{name}", reason, mend)


def decoders(_: Installation) -> list[Finding]:
    missing = undecodable()
    if missing:
        mend = "reinstall PyAV from its wheel: pip install --force-reinstall av"
        return [warn("decoders", f"FFmpeg has no decoder for {', '.join(missing)}", mend)]
    return [ok("decoders", "H.264, H.265, AV1, VP8, VP9, motion JPEG, MPEG-4 and MPEG-2 in software")]


async def models(installation: Installation) -> list[Finding]:
    """One finding for each model that some stream uses, or the default one.

    Not beside the config's own service: a GPU may have no room for another one's.
    """
    if installation.running is not None:
        return [not_applicable("model", "the service that runs has loaded its models; /health/ready tells")]
    config = installation.config
    named = {stream.detector for stream in config.streams.values()} or {None}
    wanted = {name: config.detector_settings(name) for name in named}
    return list(await asyncio.gather(*(_model(name, one) for name, one in wanted.items())))


async def _model(name: str | None, config: DetectorConfig) -> Finding:
    check = "model" if name is None else f"model.{name}"
    try:
        found = Path(config.model) if is_triton(config.model) else at_hand(config.model)
    except ModelError as error:
        return fail(check, str(error), "install Vigil again")
    if found is None:
        seen = f"{config.model} is not here; `vigil run` would download it"
        return warn(check, seen, "put the file beside the config where the network may be away, or use `starter`")
    device = config.devices[0] if config.devices else config.device
    detector = config.model_copy(update={"devices": None, "device": device}).model_dump(mode="json")
    try:
        told = await ask(
            "model", MODEL_S, path=config.model if is_triton(config.model) else str(found), detector=detector
        )
    except SlowError as error:
        seen = f"{redact(config.model)}: {error}"
        return warn(check, seen, "a first start converts for long: try again after `vigil run`, whose log says more")
    except DiedError as error:
        mend = "try another `detector.runtime` or `device`; reinstall the runtime, or the driver"
        return fail(check, f"{redact(config.model)}: {error}", mend)
    if "error" in told:
        return fail(check, redact(told["error"]), "docs/models.md says which models can be used")
    where = f"{told['runtime']} on {told['device']}, {told['precision']}"
    return ok(check, f"{told['name']} loads: {where}, {told['classes']} classes")
