"""How well tracks follow the truth, both as MOTChallenge text: HOTA, MOTA, IDF1 and identity switches, by TrackEval.

TrackEval's metrics, with its rules for MOT15: true boxes that are marked 0 do not count, and every tracked box does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
"""[N, 7]: frame from 1, id, left, top, width, height in pixels, confidence."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Per cent, but for `id_switches`, which are counted."""

    hota: float
    mota: float
    idf1: float
    id_switches: int


def evaluate(truth: Path, tracked: Path, frames: Collection[int] | None = None) -> Figures:
    """Compares two MOT files, on these frames only; None: all."""
    return figures({"": score(read(truth), read(tracked), frames)})


def read(file: Path) -> Rows:
    """A MOT file's boxes; of true ones only those that count."""
    rows = np.loadtxt(file, delimiter=",", ndmin=2, usecols=range(7)).reshape(-1, 7)
    kept: Rows = rows[rows[:, 6] != 0]
    return kept


def score(truth: Rows, tracked: Rows, frames: Collection[int] | None = None) -> dict[str, Any]:
    """TrackEval's results for one sequence, by metric; for `figures`."""
    metrics = _metrics()
    data = _data(truth, tracked, frames)
    return {name: metric.eval_sequence(data) for name, metric in metrics.items()}


def figures(scores: Mapping[str, Mapping[str, Any]]) -> Figures:
    """What the scores of several sequences come to together."""
    total = {
        name: metric.combine_sequences({sequence: one[name] for sequence, one in scores.items()})
        for name, metric in _metrics().items()
    }
    return Figures(
        round(100 * float(np.mean(total["HOTA"]["HOTA"])), 2), round(100 * float(total["CLEAR"]["MOTA"]), 2),
        round(100 * float(total["Identity"]["IDF1"]), 2), int(total["CLEAR"]["IDSW"]),
    )  # fmt: skip


def _metrics() -> dict[str, Any]:
    from trackeval.metrics import CLEAR, HOTA, Identity

    quiet = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
    return {"HOTA": HOTA(), "CLEAR": CLEAR(quiet), "Identity": Identity(quiet)}


def _data(truth: Rows, tracked: Rows, frames: Collection[int] | None) -> dict[str, Any]:
    """Both as TrackEval's metrics take them: a list of frames, ids from 0 without gaps."""
    if frames is not None:
        truth, tracked = (rows[np.isin(rows[:, 0], list(frames))] for rows in (truth, tracked))
    true_names, true_ids = np.unique(truth[:, 1], return_inverse=True)
    tracked_names, tracked_ids = np.unique(tracked[:, 1], return_inverse=True)
    numbers = np.union1d(truth[:, 0], tracked[:, 0])
    true_in, tracked_in = ([np.flatnonzero(rows[:, 0] == n) for n in numbers] for rows in (truth, tracked))
    return {
        "num_timesteps": len(numbers),
        "num_gt_ids": len(true_names), "num_gt_dets": len(truth),
        "num_tracker_ids": len(tracked_names), "num_tracker_dets": len(tracked),
        "gt_ids": [true_ids[rows] for rows in true_in],
        "tracker_ids": [tracked_ids[rows] for rows in tracked_in],
        "similarity_scores": [
            _iou(truth[ours, 2:6], tracked[theirs, 2:6]) for ours, theirs in zip(true_in, tracked_in, strict=True)
        ],
    }  # fmt: skip


def _iou(ours: Rows, theirs: Rows) -> Rows:
    """[N, M], of boxes left, top, width, height."""
    start = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    end = np.minimum((ours[:, :2] + ours[:, 2:])[:, None], (theirs[:, :2] + theirs[:, 2:])[None])
    shared = np.prod(np.clip(end - start, 0, None), axis=2)
    whole = np.prod(ours[:, 2:], axis=1)[:, None] + np.prod(theirs[:, 2:], axis=1)[None] - shared
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
