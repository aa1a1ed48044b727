"""Post-training quantisation of OpenVINO models with NNCF: 8-bit weights and activations, ranges from real pictures.

`python -m inference.runtimes.openvino_int8 MODEL FOLDER [IMAGE_SIZE]` does ahead of time what the first start with
`precision: int8` does otherwise.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import warnings
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import structlog
from numpy.typing import NDArray

from inference.calibration import Calibration
from inference.errors import ModelError
from inference.input import InputSpec
from inference.model import cache_dir

log = structlog.get_logger()

# Part of the kept files' names: another way of quantising makes other files.
METHOD = "asymmetric, head in floats"
# Layers that have weights worth quantising; what comes after the last of them computes boxes and scores.
WEIGHTED = {"Convolution", "GroupConvolution", "MatMul"}


def is_quantised(model: ov.Model) -> bool:
    return any(op.get_type_name() in ("FakeQuantize", "FakeConvert") for op in model.get_ops())


def quantised(path: Path, digest: str, model: ov.Model, spec: InputSpec, image_size: int, folder: Path | None) -> Path:
    """The OpenVINO file of `model`, quantised on the pictures in `folder`; made once, then kept.

    Args:
        path, digest: the weights file, and the hash of its content.
        spec, image_size: how the pictures are letterboxed, as cameras' are.

    Raises:
        ModelError: no folder, no pictures in it, or NNCF is not installed or cannot do it.
    """
    if folder is None:
        raise ModelError(
            f"detector.precision: {path.name} is not quantised, and int8 needs pictures to quantise it on: set "
            "detector.calibration to a folder with some dozens of your cameras' own"
        )
    calibration = Calibration(folder)
    try:
        nncf_version = version("nncf")
    except PackageNotFoundError:
        raise ModelError("detector.precision: int8 needs NNCF: pip install 'vigil-video[int8]'") from None
    # The sidecar decides how pictures are fed, so what was made with another is another model.
    made = hashlib.sha256(f"{METHOD} {spec} {image_size}".encode()).hexdigest()[:8]
    target = cache_dir() / f"{path.stem}-{digest}-int8-{calibration.hash()}-{made}-nncf{nncf_version}.xml"
    if target.is_file():
        return target
    log.info("quantising the model", model=path.name, pictures=len(calibration.files), image_size=image_size)
    inputs = list(calibration.inputs(image_size, spec))
    try:
        result = _quantised(model, inputs)
    except Exception as error:  # NNCF raises a dozen types of its own
        raise ModelError(f"NNCF cannot quantise {path.name}: {error}") from None
    part = target.with_name(f"{os.getpid()}-{target.name}")
    ov.save_model(result, part, compress_to_fp16=False)
    part.with_suffix(".bin").replace(target.with_suffix(".bin"))
    # The weights are in place before the file that makes the pair visible.
    part.replace(target)
    return target


def _quantised(model: ov.Model, inputs: list[NDArray[np.float32]]) -> ov.Model:
    with warnings.catch_warnings(), redirect_stdout(StringIO()):  # it draws progress bars
        warnings.simplefilter("ignore")
        import nncf

        logging.getLogger("nncf").setLevel(logging.ERROR)
        return nncf.quantize(
            model,
            nncf.Dataset(inputs),
            # Asymmetric activations suit SiLU: YOLOv8n keeps 0.444 of 0.449 mAP; with symmetric ones, as fast, 0.438.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(names=head_layers(model), validate=False),
        )


def head_layers(model: ov.Model) -> list[str]:
    """Names of the operations between the last layers with weights, which they include, and the results.

    There one number holds pixels, the next one a probability: eight bits are too few for both.
    """
    found: dict[str, Any] = {}
    waiting = [source.get_node() for result in model.get_results() for source in result.input_values()]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() in found or node.get_type_name() in ("Constant", "Parameter"):
            continue
        found[node.get_friendly_name()] = node
        if not _is_last_layer(node):
            waiting += [source.get_node() for source in node.input_values()]
    return sorted(found)


def _is_last_layer(node: Any) -> bool:
    if node.get_type_name() not in WEIGHTED:
        return False
    # The sum over a box side's distribution (YOLO's DFL) is written as a convolution to one channel.
    shape = node.get_output_partial_shape(0)
    is_sum = node.get_type_name() == "Convolution" and shape[1].is_static and shape[1].get_length() == 1
    return not is_sum


def main() -> None:
    from inference.config import DetectorConfig
    from inference.runtimes.openvino import OpenVinoRuntime

    model, folder, *size = sys.argv[1:]
    config = DetectorConfig.model_validate(
        {"model": model, "precision": "int8", "calibration": folder, "image_size": int(size[0]) if size else 640}
    )
    print(OpenVinoRuntime(Path(model), config).info)


if __name__ == "__main__":
    main()
