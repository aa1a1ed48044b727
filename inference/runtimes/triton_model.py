"""A model on a Triton server: its address, and what the server says of it."""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from inference.errors import ModelError
from ingest.redact import redact

SCHEME = "triton"
PORT = 8001
# Triton's names of the number formats that pictures can be sent in, and ours.
PRECISIONS = {"FP32": "fp32", "FP16": "fp16"}
# `detector.batch` goes no further.
LARGEST_BATCH = 64
# For a model without Triton's own batching, whose first axis is free.
FREE_BATCH = 16
MOST_REQUESTS = 8


def is_triton(model: str) -> bool:
    """Whether `detector.model` is on a Triton server."""
    return model.partition("://")[0].lower() == SCHEME


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model is served.

    Attributes:
        server: host:port of the gRPC endpoint.
        version: of the model; empty: the server chooses.
    """

    server: str
    model: str
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """From `triton://host[:port]/model[/version]`.

        Raises:
            ModelError: the text is not such an address.
        """
        try:
            url = urlsplit(text)
            host, port = url.hostname, url.port or PORT
        except ValueError:
            host, port = None, PORT
        parts = url.path.strip("/").split("/") if host else []
        plain = host and not (url.username or url.query or url.fragment)
        if not is_triton(text) or not plain or len(parts) not in (1, 2) or not all(parts):
            raise ModelError(f"detector.model: {redact(text)!r} is not triton://host:{PORT}/model or …/model/version")
        if len(parts) == 2 and not parts[1].isdigit():
            raise ModelError(f"detector.model: the version of a Triton model is a number, not {parts[1]!r}")
        return cls(f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}", *parts)

    def __str__(self) -> str:
        return f"{self.model} at {self.server}"


@dataclass(frozen=True, slots=True)
class Served:
    """What a server says of a model.

    Attributes:
        input: the input's name.
        datatype: Triton's name of the input's number format, a key of `PRECISIONS`.
        outputs: their names, in order.
        fixed: (height, width) where the model takes one size only.
        max_batch: pictures in a request.
        requests: how many at once keep the server busy.
        metadata: the parameters in the model's configuration, and what its `metadata` parameter holds.
        hash: 16 hex digits of what the server says; it does not tell the weights' own.
    """

    input: str
    datatype: str
    outputs: tuple[str, ...]
    fixed: tuple[int, int] | None
    max_batch: int
    requests: int
    metadata: dict[str, str]
    hash: str

    @classmethod
    def read(cls, address: Address, metadata: Any, config: Any) -> Served:
        """From a ModelMetadataResponse and a ModelConfig of the KServe v2 protocol.

        Raises:
            ModelError: the model does not take batches of pictures.
        """
        (tensor, *more) = metadata.inputs
        if more or len(tensor.shape) != 4 or tensor.datatype not in PRECISIONS:
            declared = ", ".join(f"{one.name} {one.datatype} {list(one.shape)}" for one in metadata.inputs)
            raise ModelError(f"{address} must have one input FP32 or FP16 [batch, 3, height, width], not {declared}")
        batch, channels, height, width = tensor.shape
        if channels not in (3, -1):
            raise ModelError(f"{address} wants {channels} channels; only models for colour pictures can be used")
        most = config.max_batch_size or (batch if batch > 0 else FREE_BATCH)
        if not config.max_batch_size and batch > 1:
            raise ModelError(f"{address} takes batches of {batch} only; serve it with a free or single batch")
        instances = sum(group.count for group in config.instance_group)
        said = metadata.SerializeToString(deterministic=True) + config.SerializeToString(deterministic=True)
        return cls(
            input=tensor.name,
            datatype=tensor.datatype,
            outputs=tuple(output.name for output in metadata.outputs),
            fixed=(height, width) if height > 0 and width > 0 else None,
            max_batch=min(most, LARGEST_BATCH),
            # One more than are computed, so that the next is there when one is done.
            requests=min(max(instances, 1) + 1, MOST_REQUESTS),
            metadata=_metadata(address, {key: value.string_value for key, value in config.parameters.items()}),
            hash=hashlib.sha256(said).hexdigest()[:16],
        )


def _metadata(address: Address, parameters: dict[str, str]) -> dict[str, str]:
    """Ultralytics puts all that it knows of a model into one parameter, `metadata`, as a Python or JSON mapping."""
    text = parameters.get("metadata", "")
    if not text:
        return parameters
    try:
        try:
            inner = json.loads(text)
        except ValueError:
            inner = ast.literal_eval(text)
        return parameters | {str(key): str(value) for key, value in inner.items()}
    except (ValueError, SyntaxError, AttributeError) as error:
        raise ModelError(f"{address}: its parameter `metadata` is not a mapping: {error}") from None
