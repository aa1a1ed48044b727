"""Boxes decoded for a whole batch at once are those of the head, picture by picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.heads.yolo import YoloHead
from inference.input import InputSpec
from inference.model import ModelInfo
from inference.runtimes.torch_cuda import split
from inference.runtimes.torch_decode import CANDIDATES, ROUNDS, YoloDecoder

CLASSES = 5
CPU = torch.device("cpu")
INFO = ModelInfo("crowd", "0" * 16, tuple("abcde"), "yolo", InputSpec(), 640, "torch", "cpu", "fp32")


def crowd(rng: np.random.Generator, anchors: int, objects: int, score: float = 1.0) -> np.ndarray:
    """A raw output: every anchor sees one of `objects`, somewhat displaced, and is more or less sure of it."""
    places = rng.uniform(40, 600, (objects, 2))
    sizes = rng.uniform(20, 120, (objects, 2))
    which = rng.integers(0, objects, anchors)
    boxes = np.hstack([places[which] + rng.normal(0, 8, (anchors, 2)), sizes[which] * rng.uniform(0.8, 1.2)])
    scores = rng.uniform(0, score, (anchors, CLASSES)) ** 3
    return np.hstack([boxes, scores]).T.astype(np.float32)


def compare(outputs: list[np.ndarray], confidence: float, iou: float, wanted: list[int] | None, limit: int) -> int:
    """Asserts equality; returns how many boxes there were."""
    batch = torch.from_numpy(np.stack(outputs))
    decoder = YoloDecoder(confidence, iou, wanted, CLASSES, limit, CPU)
    head = YoloHead(INFO, confidence, iou, wanted, limit)
    total = 0
    for (rows, raw), output in zip(split(decoder.decode(batch).numpy(), batch), outputs, strict=True):
        expected = head.decode([output], 640, 640).rows
        assert raw is None
        assert len(rows) == len(expected)
        np.testing.assert_allclose(rows, expected, atol=1e-4)
        total += len(rows)
    return total


@pytest.mark.parametrize("wanted", [None, [1, 3]])
@pytest.mark.parametrize("iou", [0.45, 0.7])
def test_a_batch_is_decoded_as_the_head_decodes_each(iou: float, wanted: list[int] | None) -> None:
    rng = np.random.default_rng(1)
    outputs = [crowd(rng, 500, objects, 0.8) for objects in (3, 12, 40)]
    assert compare(outputs, 0.25, iou, wanted, 300) > 20


def test_at_most_so_many_boxes_the_best() -> None:
    assert compare([crowd(np.random.default_rng(2), 400, 30)], 0.25, 0.7, None, 7) == 7


def test_a_picture_without_anything_has_no_boxes() -> None:
    rng = np.random.default_rng(3)
    assert compare([crowd(rng, 100, 3, 0.1), crowd(rng, 100, 3)], 0.25, 0.7, None, 300) > 0
    assert compare([crowd(rng, 100, 3, 0.1)] * 2, 0.25, 0.7, None, 300) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.floats(0.1, 0.95))
def test_whatever_overlaps_whatever(seed: int, objects: int, iou: float) -> None:
    compare([crowd(np.random.default_rng(seed), 150, objects)], 0.3, round(iou, 2), None, 300)


def test_a_picture_with_too_many_candidates_comes_with_its_raw_output() -> None:
    rng = np.random.default_rng(4)
    outputs = [crowd(rng, 2 * CANDIDATES, 9, score) for score in (0.7, 1.0)]
    outputs[1][4:] = 0.9
    batch = torch.from_numpy(np.stack(outputs))
    (_, calm), (_, crowded) = split(YoloDecoder(0.25, 0.7, None, CLASSES, 300, CPU).decode(batch).numpy(), batch)
    assert calm is None
    np.testing.assert_array_equal(crowded, outputs[1])


def test_a_chain_of_overlaps_that_is_too_long_comes_with_its_raw_output() -> None:
    def chain(links: int) -> torch.Tensor:
        """Each box overlaps the next one only, and scores fall along the row."""
        output = np.zeros((1, 5, links), np.float32)
        output[0, 0], output[0, 1], output[0, 2:4] = 50 + 10 * np.arange(links), 50, 40
        output[0, 4] = 0.9 - 0.01 * np.arange(links)
        return torch.from_numpy(output)

    decoder = YoloDecoder(0.25, 0.5, None, 1, 300, CPU)
    for links, certain in ((ROUNDS - 2, True), (4 * ROUNDS, False)):
        output = chain(links)
        ((rows, raw),) = split(decoder.decode(output).numpy(), output)
        assert (raw is None) == certain
        if certain:
            assert len(rows) == len(YoloHead(INFO, 0.25, 0.5, None, 300).decode([output[0].numpy()], 640, 640).rows)
