"""Where a model's head branches off: the feature maps that it looks at, found by the graph and not by names."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import openvino as ov
from openvino import opset13 as ops

CONVOLUTIONS = ("Convolution", "GroupConvolution")


def head_inputs(model: ov.Model, height: int, width: int) -> list[ov.Output]:
    """The maps [1, channels, height / stride, width / stride] that the head looks at, the finest first; empty: none.

    A head has at least two branches on each of its grids, one for boxes and one for classes. So the convolutions that
    no other convolution of a grid follows are gathered by grid, and the last thing that all of one grid come from is
    taken.
    """
    order = list(model.get_ordered_ops())
    place = {op.get_friendly_name(): index for index, op in enumerate(order)}
    strides = {index: stride for index, op in enumerate(order) if (stride := _stride(op, height, width))}
    followed: set[int] = set()  # whatever a grid's convolution comes from
    for index in reversed(range(len(order))):
        if index in followed or index in strides:
            followed.update(_sources(order[index], place))
    lasts: dict[int, list[int]] = {}
    for index, stride in strides.items():
        if index not in followed:
            lasts.setdefault(stride, []).append(index)
    found = []
    for stride, branches in sorted(lasts.items()):
        shared = set.intersection(*(_ancestors(branch, order, place) for branch in branches))
        if len(branches) > 1 and shared:
            output = order[max(shared)].output(0)
            if _grid(output, height, width) == stride:
                found.append(output)
    return found


def add_map(model: ov.Model, grid: ov.Output) -> None:
    """Has the model give a map as well, [1, rows, columns, channels], after what it gives already."""
    last = ops.transpose(grid, ops.constant(np.array([0, 2, 3, 1])))
    model.add_results([ops.result(last)])


def _sources(op: ov.Node, place: dict[str, int]) -> Iterable[int]:
    return (place[source.get_source_output().get_node().get_friendly_name()] for source in op.inputs())


def _ancestors(index: int, order: list[ov.Node], place: dict[str, int]) -> set[int]:
    """What an op comes from, without constants."""
    seen: set[int] = set()
    left = [index]
    while left:
        for source in _sources(order[left.pop()], place):
            if source not in seen and order[source].get_type_name() != "Constant":
                seen.add(source)
                left.append(source)
    return seen


def _stride(op: ov.Node, height: int, width: int) -> int:
    """The stride of the grid that a convolution computes; 0: it is none, or its output no grid over the picture."""
    return _grid(op.output(0), height, width) if op.get_type_name() in CONVOLUTIONS else 0


def _grid(output: ov.Output, height: int, width: int) -> int:
    shape = output.get_partial_shape()
    if shape.is_dynamic or len(shape) != 4:
        return 0
    rows, columns = (int(size.get_length()) for size in list(shape)[2:])
    stride = height // rows
    return stride if (rows * stride, columns * stride) == (height, width) else 0
