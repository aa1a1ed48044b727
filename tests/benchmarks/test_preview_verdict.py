"""What the preview benchmark says of analysis while somebody watches, told by plain values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.preview_verdict import Phase, judged, out_of_order

SENT = 100.0
WITHOUT = Phase(analysed=80.0, decoded=100.0, vigil=1.9, idle=0.1, detector=1.4, drawing=0.0, sending=0.01)
# Of the 1.4 cores that the detector had 0.28 went to viewers, a fifth: 0.22 + 0.03 for what Vigil does for them, and
# 0.03 to themselves. That leaves 64 frames.
WATCHED = replace(WITHOUT, vigil=1.97, idle=0.0, detector=1.12, drawing=0.22, sending=0.04)


@pytest.mark.parametrize(
    ("analysed", "holds"), [(64.0, True), (62.0, True), (61.0, False), (70.0, True)], ids=str
)  # 80 * 0.03 = 2.4 frames cannot be told from chance
def test_frames_may_fall_by_what_viewers_took_of_what_the_detector_had(analysed: float, holds: bool) -> None:
    verdict = judged([replace(WATCHED, analysed=analysed)] * 3, [WITHOUT] * 3, SENT)
    assert (verdict.took, verdict.explained) == (pytest.approx(0.28), pytest.approx(0.2))
    assert verdict.fell == pytest.approx(1 - analysed / 80)
    assert verdict.holds is holds


def test_cores_that_stay_idle_explain_no_fall() -> None:
    waiting = replace(WATCHED, analysed=56.0, vigil=1.69, idle=0.28)
    verdict = judged([waiting] * 3, [WITHOUT] * 3, SENT)
    assert (verdict.explained, verdict.holds) == (pytest.approx(0.2), False)


def test_what_other_programs_take_explains_a_fall() -> None:
    crowded = replace(WATCHED, analysed=48.0, vigil=1.69)
    verdict = judged([crowded] * 3, [WITHOUT] * 3, SENT)
    assert (verdict.explained, verdict.holds) == (pytest.approx(0.4), True)


@pytest.mark.parametrize(("analysed", "holds"), [((78.0, 80.0, 82.0), True), ((60.0, 80.0, 90.0), None)])
def test_nothing_is_said_where_phases_without_viewers_are_not_alike(
    analysed: tuple[float, ...], holds: bool | None
) -> None:
    verdict = judged([replace(WATCHED, analysed=61.0)] * 3, [replace(WITHOUT, analysed=one) for one in analysed], SENT)
    assert verdict.tolerance == pytest.approx((max(analysed) - min(analysed)) / 80)
    assert verdict.holds is holds


@pytest.mark.parametrize(("decoded", "holds"), [(90.0, True), (89.0, None)])
def test_nothing_is_said_where_the_cameras_pictures_were_not_decoded(decoded: float, holds: bool | None) -> None:
    behind = replace(WATCHED, analysed=64.0, decoded=decoded)
    assert judged([behind] * 3, [WITHOUT] * 3, SENT).holds is holds


@pytest.mark.parametrize("analysed", [20.0, 200.0])
def test_one_disturbed_round_changes_nothing(analysed: float) -> None:
    usual = replace(WATCHED, analysed=64.0)
    assert judged([usual, replace(usual, analysed=analysed), usual], [WITHOUT] * 3, SENT).fell == pytest.approx(0.2)


def test_results_are_in_order_by_session_and_number_within_their_stream() -> None:
    assert out_of_order([("a", 1, 8), ("b", 1, 2), ("a", 1, 9), ("a", 2, 0), ("b", 1, 5)]) == 0
    assert out_of_order([("a", 1, 8), ("a", 1, 7), ("a", 1, 9)]) == 1
    assert out_of_order([("a", 2, 0), ("a", 1, 9), ("b", 1, 3), ("b", 1, 3)]) == 2
