"""docs/models.md: what it shows works, and it names what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from inference.heads import HEADS
from inference.letterbox import Letterbox
from inference.masks import Mask, to_source
from inference.sidecar import Sidecar
from tests.inference.test_masks import spans_from

TEXT = (Path(__file__).resolve().parents[2] / "docs/models.md").read_text()


def shown() -> Any:
    """The function that the document shows."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["decode"]


@settings(deadline=None)
@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.booleans()))
def test_the_shown_decoder_reads_masks(mask: NDArray[np.bool_]) -> None:
    height, width = mask.shape
    whole = Letterbox((width, height), (width, height), 0, 0, width, height)
    counts = to_source(spans_from(mask[None]), whole)[0].counts
    assert np.array_equal(shown()({"size": [height, width], "counts": counts}), mask)
    assert np.array_equal(Mask(height, width, counts).decode(), mask)


def test_every_head_and_every_key_of_a_sidecar_is_named() -> None:
    for name in [*HEADS, *Sidecar.model_fields]:
        assert f"`{name}`" in TEXT, name
