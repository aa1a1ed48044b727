"""What a model is: found by name, identified by its weights, described by its own metadata."""

from __future__ import annotations

import ast
import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference.errors import ModelError
from inference.input import InputSpec
from inference.runtimes.triton_model import is_triton
from inference.sidecar import read_sidecar, sidecar_path

STARTER = Path(__file__).parent / "starter" / "starter.onnx"
PREFERRED = "yolo11n.pt"
DOWNLOAD_URL = "https://github.com/ultralytics/assets/releases/download/v8.4.0/{name}"
AUTO_DOWNLOAD_S = 10.0
NAMED_DOWNLOAD_S = 300.0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model, as messages and metrics name it.

    Attributes:
        name: file name without its suffix.
        hash: first 16 hex digits of the weights file's SHA-256.
        names: class names; a box's class id is an index into them.
        head: which output head decodes it (a key of `inference.heads.HEADS`).
        input: what it expects of its pictures.
        image_size: longer side of the input, pixels.
        runtime, device, precision: what computes it, where, in which number format.
        keypoints: of a pose model: how many, and values for each (x, y and perhaps a confidence).
    """

    name: str
    hash: str
    names: tuple[str, ...]
    head: str
    input: InputSpec
    image_size: int
    runtime: str
    device: str
    precision: str
    keypoints: tuple[int, int] | None = None

    def class_ids(self, names: list[str] | None) -> list[int] | None:
        """The ids of the named classes; None stands for all.

        Raises:
            ModelError: the model has no such class.
        """
        if names is None:
            return None
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ModelError(
                f"detector.classes: {self.name} has no class {unknown[0]!r}; it knows {', '.join(self.names)}"
            )
        return [self.names.index(name) for name in names]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelInfo:
        names, keypoints = tuple(data["names"]), data.get("keypoints")
        spec = InputSpec.from_json(data["input"])
        return cls(**{**data, "names": names, "input": spec, "keypoints": tuple(keypoints) if keypoints else None})


def cache_dir() -> Path:
    """Where downloaded and converted models are kept between runs."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "vigil" / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def find_model(model: str) -> tuple[Path, str]:
    """The weights file that `detector.model` names, and in words how it was chosen.

    Raises:
        ModelError: there is no such file and it cannot be downloaded.
    """
    if is_triton(model):
        return Path(model), "on a Triton server"
    if model == "starter":
        return _starter(), "the starter detector was asked for"
    if model != "auto":
        return _named(model)
    local = _local(PREFERRED)
    if local:
        return local, f"auto: found {local}"
    try:
        path = download(PREFERRED, AUTO_DOWNLOAD_S)
    except (OSError, urllib.error.URLError) as error:
        return _starter(), f"auto: {PREFERRED} is not here and could not be downloaded ({error}); using the starter"
    return path, f"auto: downloaded {PREFERRED}"


def at_hand(model: str) -> Path | None:
    """As `find_model`, without a download: None where it takes one, the starter where `auto` would try one.

    Raises:
        ModelError: the starter is asked for, and missing.
    """
    if model in ("starter", "auto"):
        return (_local(PREFERRED) if model == "auto" else None) or _starter()
    return _local(model)


def _starter() -> Path:
    if not STARTER.is_file():
        raise ModelError(f"the starter detector is missing from this installation: {STARTER}")
    return STARTER


def _local(name: str) -> Path | None:
    return next((path for path in (Path(name), cache_dir() / name) if path.is_file()), None)


def _named(model: str) -> tuple[Path, str]:
    path = _local(model)
    if path:
        return path, f"found {path}"
    looks_like_release = Path(model).name == model and model.startswith("yolo") and model.endswith(".pt")
    if not looks_like_release:
        raise ModelError(f"detector.model: no file {model!r}; give the path of a .pt or .onnx file, or 'starter'")
    try:
        return download(model, NAMED_DOWNLOAD_S), f"downloaded {model}"
    except (OSError, urllib.error.URLError) as error:
        raise ModelError(
            f"detector.model: {model} is not here and could not be downloaded ({error}); put the file beside the "
            "config, or use 'starter'"
        ) from None


def download(name: str, deadline_s: float) -> Path:
    """Fetches one of Ultralytics' released weights into the cache, all of it within `deadline_s` or not at all."""
    ends = time.monotonic() + deadline_s
    target = cache_dir() / name
    part = target.with_suffix(f".part{os.getpid()}")
    try:
        url = DOWNLOAD_URL.format(name=name)
        with urllib.request.urlopen(url, timeout=deadline_s) as answer, part.open("wb") as f:  # noqa: S310
            while chunk := answer.read(1 << 16):
                f.write(chunk)
                if time.monotonic() > ends:
                    raise TimeoutError(f"not complete after {deadline_s:g} s")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def weights_hash(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a weights file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with path.open("rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()[:16]
    except OSError as error:
        raise ModelError(f"detector.model: {path} cannot be read: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Described:
    """What a weights file says of itself."""

    names: tuple[str, ...]
    head: str
    input: InputSpec
    keypoints: tuple[int, int] | None = None


# Ultralytics' tasks that have a head here, beside `detect`, which has several.
TASK_HEADS = {"segment": "segment", "pose": "pose", "obb": "obb"}


def describe(path: Path, metadata: Mapping[str, str]) -> Described:
    """Reads the model's sidecar or, without one, the metadata that Ultralytics writes into its exports.

    Raises:
        ModelError: the file does not say enough, or says something that has no head here.
    """
    sidecar = read_sidecar(path)
    if sidecar is not None:
        return Described(tuple(sidecar.names), sidecar.head, sidecar.input(), sidecar.keypoints)
    missing = [key for key in ("task", "names", "stride") if not metadata.get(key)]
    if missing:
        raise ModelError(
            f"{path.name} does not say its {', '.join(missing)}: write a sidecar {sidecar_path(path).name} beside it "
            "(docs/models.md), or export it with Ultralytics (`yolo export format=onnx dynamic=True`), which does"
        )
    task, end2end = metadata["task"], metadata.get("end2end", "False") == "True"
    if task != "detect" and task not in TASK_HEADS:
        raise ModelError(
            f"{path.name} is a {task!r} model; only {', '.join(repr(known) for known in ('detect', *TASK_HEADS))} "
            "models can be used"
        )
    if end2end and task != "detect":
        raise ModelError(
            f"{path.name} is an NMS-free {task!r} model, which has no head here: export it with `end2end=False`"
        )
    try:
        names = ast.literal_eval(metadata["names"])
        ordered = tuple(str(names[index]) for index in range(len(names)))
        stride = int(float(metadata["stride"]))
        keypoints = _keypoints(metadata["kpt_shape"]) if task == "pose" else None
    except (ValueError, SyntaxError, TypeError, KeyError) as error:
        raise ModelError(f"{path.name}: its metadata cannot be understood: {error!r}") from None
    if metadata.get("head") == "RTDETRDecoder":
        return Described(ordered, "rtdetr_ranked", InputSpec(stride=stride, fit="stretch"))
    head = "yolo_end2end" if end2end else TASK_HEADS.get(task, "yolo")
    return Described(ordered, head, InputSpec(stride=stride), keypoints)


def _keypoints(shape: str) -> tuple[int, int]:
    """How many keypoints, and values for each.

    Raises:
        ValueError, TypeError, SyntaxError: `shape` does not say so.
    """
    points, values = ast.literal_eval(shape)
    if points < 1 or values not in (2, 3):
        raise ValueError(f"kpt_shape {shape} is not [keypoints, 2 or 3]")
    return int(points), int(values)
