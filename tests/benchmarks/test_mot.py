"""The tracking benchmark's figures, and that ours at a full rate are BoxMOT's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.mot import Figures, evaluate, figures, read, score
from benchmarks.tracking import boxmot, follow, vigil

TRUTH = """\
1,1,10,10,50,100,1,-1,-1,-1
1,2,300,10,50,100,1,-1,-1,-1
1,3,600,10,50,100,0,-1,-1,-1
2,1,14,10,50,100,1,-1,-1,-1
2,2,296,10,50,100,1,-1,-1,-1
3,1,18,10,50,100,1,-1,-1,-1
3,2,292,10,50,100,1,-1,-1,-1
4,1,22,10,50,100,1,-1,-1,-1
4,2,288,10,50,100,1,-1,-1,-1
"""


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_the_truth_itself_is_perfect_and_boxes_that_do_not_count_do_not(tmp_path: Path) -> None:
    truth = written(tmp_path, "gt.txt", TRUTH)
    counted = [line for line in TRUTH.splitlines(keepends=True) if ",0,-1" not in line]
    tracked = written(tmp_path, "tracked.txt", "".join(counted).replace(",1,-1,-1,-1", ",0.9,0,-1"))
    assert evaluate(truth, tracked) == Figures(100.0, 100.0, 100.0, 0)
    assert evaluate(truth, tracked, frames=(1, 3)) == Figures(100.0, 100.0, 100.0, 0)


def test_two_that_swap_ids_are_two_switches(tmp_path: Path) -> None:
    truth = written(tmp_path, "gt.txt", TRUTH)
    rows = read(truth)
    late = rows[:, 0] > 2
    rows[late, 1] = 3 - rows[late, 1]
    np.savetxt(tmp_path / "tracked.txt", rows, fmt="%g", delimiter=",")
    told = evaluate(truth, tmp_path / "tracked.txt")
    assert told.id_switches == 2
    assert told.mota == 75.0  # 8 true boxes, none missed
    assert told.idf1 == 50.0
    assert told.hota == pytest.approx(100 / 3**0.5, abs=0.01)  # each pair shares a third of what either has


@pytest.mark.parametrize("sequence", ["TUD-Stadtmitte"])
def test_bytetrack_at_the_full_rate_is_as_good_as_boxmots(data: Path, sequence: str) -> None:
    folder = data / "mot" / "MOT15" / sequence
    truth, found = read(folder / "gt" / "gt.txt"), read(folder / "det" / "det.txt")
    frames = range(1, int(truth[:, 0].max()) + 1)
    theirs = boxmot("bytetrack", 25.0)
    assert theirs is not None
    ours = figures({sequence: score(truth, follow(vigil("bytetrack", 25.0), found, frames))})
    told = figures({sequence: score(truth, follow(theirs, found, frames))})
    assert ours.hota == pytest.approx(told.hota, abs=0.1)
    assert ours.idf1 == pytest.approx(told.idf1, abs=0.1)
    assert ours.id_switches == told.id_switches
    assert ours.hota > 30
