"""The plan adds up, names what is short first and says what would fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vigil.plan import COMFORTABLE, StreamCosts, plan

CAMERA = StreamCosts("gate", "h264 1920x1080 25 fps", 25, 25, 0.004, 0.0005, 0.015)
REST_S = 0.0005


def test_use_is_frames_times_costs() -> None:
    found = plan([CAMERA] * 3, REST_S, 4)
    assert [stage.cores for stage in found.stages] == pytest.approx([0.3, 0.0375, 1.125, 0.0375])
    assert found.utilisation == pytest.approx(1.5 / 4)
    assert (found.bottleneck, found.heaviest) == ("cpu", "infer")
    assert found.capacity_fps == pytest.approx(75 * (4 - 0.3) / 1.2)  # all three are decoded in any case
    assert found.fitting_streams == 7  # 8 would use all of it
    assert found.fits
    assert found.advice == ()


def test_what_is_sampled_is_decoded_all_the_same() -> None:
    found = plan([replace(CAMERA, analysed_fps=5)] * 2, REST_S, 2)
    assert [stage.frames_per_second for stage in found.stages] == [50, 10, 10, 10]
    assert found.stages[0].cores == pytest.approx(0.2)


def test_the_advised_rate_fits_and_a_higher_one_does_not() -> None:
    crowded = [CAMERA] * 12
    found = plan(crowded, REST_S, 2)
    assert not found.fits
    assert found.fitting_fps is not None
    for factor, fits in ((0.999, True), (1.001, False)):
        tried = plan([replace(one, analysed_fps=found.fitting_fps * factor) for one in crowded], REST_S, 2)
        assert tried.fits is fits
    assert f"fps: {found.fitting_fps:.2g}" in found.advice[0]


def test_when_decoding_alone_is_too_much_no_rate_is_advised() -> None:
    found = plan([CAMERA] * 40, REST_S, 2)
    assert found.fitting_fps is None
    assert found.capacity_fps == 0
    assert "sub-stream" in found.advice[-1]


def test_a_gpu_can_be_short_before_the_cores_are() -> None:
    on_gpu = replace(CAMERA, infer_s=0.0005, device="cuda", device_s=0.002)
    found = plan([on_gpu] * 24, REST_S, 32)
    assert found.bottleneck == "cuda"
    assert found.utilisation == pytest.approx(24 * 25 * 0.002)
    assert found.fitting_streams == int(COMFORTABLE / (25 * 0.002))
    assert "devices" in found.advice[-1]
