"""Masks keep their shape from the model's prototypes to the source frame and through COCO's run lengths."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from inference.detections import Detections
from inference.found import Found, Spans
from inference.input import InputSpec
from inference.letterbox import Letterbox
from inference.masks import Mask, to_source
from inference.shapes import spans_of

ROOT = Path(__file__).resolve().parents[2]


def spans_from(masks: NDArray[np.bool_]) -> Spans:
    """Of bool [N, height, width], pixel by pixel."""
    spans, ends = [], []
    for mask in masks:
        for x, column in enumerate(mask.T):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], column.astype(np.int8), [0]])))
            spans += [(x, begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True)]
        ends.append(len(spans))
    return Spans(np.array(spans, np.uint16).reshape(-1, 3), np.array(ends, np.int32))


def identity(height: int, width: int) -> Letterbox:
    return Letterbox((width, height), (width, height), 0, 0, width, height)


some_masks = arrays.arrays(np.bool_, st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9)))


@settings(deadline=None)  # the first compiles
@given(some_masks)
def test_any_mask_comes_back_as_it_was(masks: NDArray[np.bool_]) -> None:
    told = to_source(spans_from(masks), identity(*masks.shape[1:]))
    assert len(told) == len(masks)
    for mask, expected in zip(told, masks, strict=True):
        assert np.array_equal(mask.decode(), expected)


def coco_counts(mask: NDArray[np.bool_]) -> str:
    """pycocotools' `rleEncode` and `rleToString`, in words of Python."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    runs = np.diff(np.concatenate([[0], edges, [len(flat)]])).tolist()
    if flat[0]:
        runs.insert(0, 0)
    text = ""
    for n, run in enumerate(runs):
        value = run - runs[n - 2] if n > 2 else run
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
            if not more:
                break
    return text


@settings(deadline=None)  # the first compiles
@given(some_masks)
def test_the_text_is_cocos(masks: NDArray[np.bool_]) -> None:
    told = to_source(spans_from(masks), identity(*masks.shape[1:]))
    assert [mask.counts for mask in told] == [coco_counts(mask) for mask in masks]


def test_a_known_text_is_read() -> None:
    """From pycocotools: encode(np.asfortranarray([[0, 1], [1, 1]], np.uint8))."""
    assert Mask(2, 2, "13").decode().tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize("source", [(1920, 1080), (1080, 1920), (200, 150), (641, 359)])
@pytest.mark.parametrize("fit", ["center", "top_left", "stretch"])
def test_a_mask_goes_to_the_source_where_its_box_goes(source: tuple[int, int], fit: str) -> None:
    letterbox = Letterbox.fit(*source, 320, InputSpec(fit=fit))  # type: ignore[arg-type]
    mask = np.zeros((1, letterbox.height, letterbox.width), np.bool_)
    box = np.array([[letterbox.left + 11, letterbox.top + 21, letterbox.left + 90, letterbox.top + 101]], np.float32)
    x1, y1, x2, y2 = box[0].astype(int)
    mask[0, y1:y2, x1:x2] = True
    decoded = to_source(spans_from(mask), letterbox)[0].decode()
    assert decoded.shape == (source[1], source[0])
    lines, columns = np.nonzero(decoded)
    extent = [columns.min(), lines.min(), columns.max() + 1, lines.max() + 1]
    np.testing.assert_allclose(extent, letterbox.to_source(box)[0], atol=0.51)
    assert decoded.sum() == (extent[2] - extent[0]) * (extent[3] - extent[1])


def test_what_was_compiled_beforehand_serves_all_that_comes() -> None:
    """A worker or detector that compiles while frames wait is given up on."""
    code = """
import numpy as np
from inference import heads, input, masks, model, shapes
from inference.channel import Answer, Outcome, pack_answer, unpack_answer
from inference.letterbox import Letterbox
info = model.ModelInfo("toy", "0", ("a",), "segment", input.InputSpec(), 64, "none", "cpu", "fp32")
head = heads.load_head(info, 0.5, 0.7, None, 300)
masks.warm_up()
compiled = (masks._source_runs, masks._compressed, shapes._spans_of)
before = [len(one.signatures) for one in compiled]
output, prototypes = np.ones((7, 5), np.float32), np.ones((2, 16, 16), np.float32)
output[:4] = np.array([30, 30, 20, 20])[:, None]
for _ in range(2):
    found = head.decode([output, prototypes], 64, 64)
    sent = unpack_answer(pack_answer(Answer(0, 0, Outcome.ANALYSED, 1, 1, 0.0, 0.0, found))).found
    assert all(masks.to_source(part, Letterbox.fit(128, 128, 64)) for part in (found.masks, sent.masks))
    output, prototypes = output.T.copy().T, np.broadcast_to(prototypes, prototypes.shape)
    output.flags.writeable = False
assert before == [len(one.signatures) for one in compiled] == [1, 1, 1], before
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_what_lies_in_the_padding_is_outside_of_the_frame() -> None:
    letterbox = Letterbox.fit(1000, 450, 320)
    assert letterbox.top > 0
    everything = np.ones((1, letterbox.height, letterbox.width), np.bool_)
    (mask,) = to_source(spans_from(everything), letterbox)
    assert mask.decode().all()


def test_a_shape_is_smooth_between_its_prototypes_cells() -> None:
    """A slope from -1 to 1 over two cells is zero in the middle between them."""
    prototypes = np.array([[[-1.0, 1.0]]], np.float32)
    whole = np.array([[0, 0, 8, 4]], np.float32)
    masks = spans_of(np.ones((1, 1), np.float32), prototypes, whole, 4, 8)
    assert masks.spans.tolist() == [[x, 0, 4] for x in range(4, 8)]


def test_boxes_outside_of_the_input_and_empty_ones_have_no_pixels() -> None:
    boxes = np.array([[-50, -50, -10, -10], [700, 10, 900, 50], [5, 5, 5, 9], [-10, -10, 2, 2]], np.float32)
    masks = spans_of(np.ones((4, 1), np.float32), np.ones((1, 16, 16), np.float32), boxes, 64, 64)
    assert masks.ends.tolist() == [0, 0, 0, 2]
    assert masks.spans.tolist() == [[0, 0, 2], [1, 0, 2]]


def found(count: int) -> Found:
    """So many objects of everything, in an input of 64 x 64."""
    rows = np.tile(np.array([[8, 8, 16, 16, 0.9, 1]], np.float32), (count, 1))
    masks = np.zeros((count, 64, 64), np.bool_)
    masks[:, 8:16, 8:16] = True
    points = np.tile(np.array([[[8, 16, 0.5], [-9, 99, 0.25]]], np.float32), (count, 1, 1))
    corners = np.tile(np.array([[[8, 16], [16, 8], [8, 0], [0, 8]]], np.float32), (count, 1, 1))
    return Found(rows, points, corners, spans_from(masks))


def test_details_are_in_the_source_frames_pixels() -> None:
    letterbox = Letterbox.fit(128, 128, 64)
    detections = Detections.in_source(found(1), letterbox)
    assert detections.boxes.tolist() == [[16, 16, 32, 32]]
    assert detections.keypoints is not None and detections.corners is not None and detections.masks is not None
    assert detections.keypoints.tolist() == [[[16, 32, 0.5], [0, 128, 0.25]]]
    assert detections.corners.tolist() == [[[16, 32], [32, 16], [16, 0], [0, 16]]]
    (mask,) = detections.masks
    assert mask is not None
    assert np.argwhere(mask.decode()).tolist() == [[y, x] for y in range(16, 32) for x in range(16, 32)]


@pytest.mark.parametrize("left", [0, 1, 2])
def test_objects_whose_details_were_dropped_keep_their_boxes(left: int) -> None:
    detections = Detections.in_source(found(2).first(left), Letterbox.fit(128, 128, 64))
    assert len(detections) == 2
    assert detections.keypoints is not None and detections.corners is not None and detections.masks is not None
    for part in (detections.keypoints, detections.corners):
        assert [bool(np.isnan(one).any()) for one in part] == [n >= left for n in range(2)]
    assert [mask is None for mask in detections.masks] == [n >= left for n in range(2)]
    theirs = detections.to_supervision()
    assert len(theirs) == 2
    if left:
        assert theirs.mask is not None
        assert [int(one.sum()) for one in theirs.mask] == [256 * (n < left) for n in range(2)]
        assert theirs.data["xyxyxyxy"].shape == (2, 4, 2)
        assert theirs.data["keypoints"].shape == (2, 2, 3)
