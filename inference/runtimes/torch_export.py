"""Ultralytics weights as an ONNX file that takes any batch and input size, for the runtimes that read no .pt files."""

from __future__ import annotations

import json
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from inference.errors import ModelError
from inference.model import cache_dir
from inference.runtimes.torch import load_weights

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# What PyTorch's exporter writes without onnxscript, and what TensorRT 10 and OpenVINO read.
OPSET = 17
EXAMPLE_SIDE = 320


def exported(path: Path, digest: str, precision: str) -> tuple[Path, dict[str, str]]:
    """The ONNX file of a .pt file, and the metadata of the weights; made once for a precision, then kept.

    Layers with weights compute in `precision`, as does the input; boxes and scores are decoded in float32, as pixel
    coordinates want more digits than half precision has.

    Raises:
        ModelError: the file is not one of Ultralytics' detection models, or the onnx package is not installed.
    """
    target = cache_dir() / f"{path.stem}-{digest}-{precision}.onnx"
    described = target.with_suffix(".json")
    if target.is_file() and described.is_file():
        return target, json.loads(described.read_text())
    if find_spec("onnx") is None:
        raise ModelError(f"{path.name} has to be exported, which needs ONNX: pip install 'vigil-video[tensorrt]'")
    model, metadata = load_weights(path)
    head = model.model[-1]
    head.export, head.format, head.dynamic = True, "onnx", True
    model.to(DTYPES[precision])
    _decode_in_float32(head)
    # Two pictures: an axis of length 1 is taken for a constant.
    example = torch.zeros(2, 3, EXAMPLE_SIDE, EXAMPLE_SIDE, dtype=DTYPES[precision])
    outputs = {0: "batch"} if metadata["end2end"] == "True" else {0: "batch", 2: "anchors"}
    part = target.with_name(f"{os.getpid()}-{target.name}")
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is what this exporter does
            model(example)
            torch.onnx.export(
                model, (example,), str(part), dynamo=False, opset_version=OPSET, input_names=["images"],
                output_names=["output0"],
                dynamic_axes={"images": {0: "batch", 2: "height", 3: "width"}, "output0": outputs},
            )  # fmt: skip
        described.write_text(json.dumps(metadata))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target, metadata


def _decode_in_float32(head: Any) -> None:
    inner = head.forward_head

    def forward_head(*args: Any, **branches: Any) -> dict[str, Any]:
        found = inner(*args, **branches)
        return {name: [one.float() for one in value] if isinstance(value, list) else value.float()
                for name, value in found.items()}  # fmt: skip

    head.forward_head = forward_head
    head.dfl.float()
