"""What an ONNX file takes and gives, read from the file alone: nothing that computes it has to be loaded.

The format is protocol buffers' (protobuf.dev/programming-guides/encoding); field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import VigilError

MODEL_GRAPH, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 7, 5, 11, 12
VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_TYPE, TENSOR_SHAPE = 1, 2, 1, 1, 2
SHAPE_DIMENSION, DIMENSION_VALUE, TENSOR_NAME = 1, 1, 8
FLOAT = 1
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# Inputs larger than any ReID network's are those of something else.
LARGEST_SIDE = 1024


class ReidError(VigilError):
    """A ReID model cannot be used."""

    code = "reid.unusable"


@dataclass(frozen=True, slots=True)
class ReidShape:
    """A ReID model's input, float32 [batch, 3, height, width], and the length of what it gives for each crop."""

    input: str
    height: int
    width: int
    length: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input or output: `shape` has 0 where the size is free; `kind` is onnx.proto's type of its elements."""

    name: str
    kind: int
    shape: tuple[int, ...]


def read_shape(path: Path) -> ReidShape:
    """
    Raises:
        ReidError: the file cannot be read, or holds no model that makes one row of numbers of each crop.
    """
    try:
        inputs, outputs = _ends(memoryview(path.read_bytes()))
    except OSError as error:
        raise ReidError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, IndexError):  # not a protocol buffer, or one that ends too soon
        raise ReidError(f"{path} is no ONNX file, or not all of one") from None
    if len(inputs) != 1 or not outputs:
        raise ReidError(f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; a ReID model has one of each")
    (taken,), given = inputs, outputs[0]
    fits = len(taken.shape) == 4 and taken.shape[1] == 3 and all(0 < side <= LARGEST_SIDE for side in taken.shape[2:])
    if not fits or taken.kind != FLOAT:
        raise ReidError(f"{path} takes {_told(taken)}; a ReID model takes float32 [N, 3, height, width], sizes fixed")
    if taken.shape[0] not in (0, 1):
        raise ReidError(f"{path} takes batches of {taken.shape[0]} only: export it with a free or single batch")
    if len(outputs) > 1 or len(given.shape) != 2 or given.shape[1] < 1 or given.kind != FLOAT:
        told = ", ".join(_told(one) for one in outputs)
        raise ReidError(f"{path} gives {told}; a ReID model gives float32 [N, length], a row for each crop")
    return ReidShape(taken.name, taken.shape[2], taken.shape[3], given.shape[1])


def _told(tensor: _Tensor) -> str:
    sizes = ", ".join(str(size) if size else "free" for size in tensor.shape)
    return f"{tensor.name} {'float32' if tensor.kind == FLOAT else f'of type {tensor.kind}'} [{sizes}]"


def _ends(model: memoryview) -> tuple[list[_Tensor], list[_Tensor]]:
    """The inputs and outputs of a model; weights that are listed among the inputs, as old files do, are none."""
    inputs, outputs, weights = [], [], set()
    for graph in _within_all(model, MODEL_GRAPH):
        for field, value in _fields(graph):
            if not isinstance(value, memoryview):
                continue
            if field == GRAPH_INPUT:
                inputs.append(_tensor(value))
            elif field == GRAPH_OUTPUT:
                outputs.append(_tensor(value))
            elif field == GRAPH_INITIALIZER:
                weights.add(_text(value, TENSOR_NAME))
    return [one for one in inputs if one.name not in weights], outputs


def _tensor(value: memoryview) -> _Tensor:
    kind, shape = 0, []
    for tensor in _within(_within_all(value, VALUE_TYPE), TYPE_TENSOR):
        for field, part in _fields(tensor):
            if field == TENSOR_TYPE and isinstance(part, int):
                kind = part
            elif field == TENSOR_SHAPE and isinstance(part, memoryview):
                shape = [_dimension(one) for one in _within_all(part, SHAPE_DIMENSION)]
    return _Tensor(_text(value, VALUE_NAME), kind, tuple(shape))


def _dimension(value: memoryview) -> int:
    return next((size for field, size in _fields(value) if field == DIMENSION_VALUE and isinstance(size, int)), 0)


def _text(value: memoryview, wanted: int) -> str:
    return next((bytes(part).decode() for part in _within_all(value, wanted)), "")


def _within(values: list[memoryview], wanted: int) -> list[memoryview]:
    return [part for value in values for part in _within_all(value, wanted)]


def _within_all(value: memoryview, wanted: int) -> list[memoryview]:
    return [part for field, part in _fields(value) if field == wanted and isinstance(part, memoryview)]


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """A message's fields: number, and value.

    Raises:
        ValueError, IndexError: it is none, or ends too soon.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == VARINT:
            number, at = _varint(data, at)
            yield key >> 3, number
            continue
        if kind == BYTES:
            size, at = _varint(data, at)
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(kind, -1)
        if size < 0 or at + size > len(data):
            raise ValueError("no protocol buffer")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
        if shift > 63:
            raise ValueError("no protocol buffer")
