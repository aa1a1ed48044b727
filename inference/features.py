"""The contract of what objects look like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
"""[N, D], rows of length 1: the more alike two objects look, the larger the product of their rows."""


def unit(rows: NDArray[np.float32]) -> Features:
    """The rows at length 1; rows of zeros stay as they are."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    return (rows / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32, copy=False)
