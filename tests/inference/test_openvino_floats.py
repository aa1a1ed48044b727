"""Where bf16 may be slower than fp32, both are tried, once, and the faster is taken."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from inference import openvino_floats
from inference.config import DetectorConfig
from inference.model import STARTER
from inference.openvino_floats import LEAST_TURNS, MOST_TURNS, fastest
from inference.runtimes.openvino import OpenVinoRuntime


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def trials(ran: Counter[str], **seconds: float) -> dict[str, Callable[[], object]]:
    def one(name: str) -> Callable[[], object]:
        def run() -> None:
            ran[name] += 1
            time.sleep(seconds[name])

        return run

    return {name: one(name) for name in seconds}


@pytest.mark.parametrize(("bf16", "fp32", "winner"), [(0.02, 0.005, "fp32"), (0.005, 0.02, "bf16")])
def test_the_faster_one_is_taken_and_not_looked_for_again(
    bf16: float, fp32: float, winner: str, tmp_path: Path
) -> None:
    ran: Counter[str] = Counter()
    assert fastest(trials(ran, bf16=bf16, fp32=fp32), tmp_path / "kept.json", "m") == winner
    assert ran == {"bf16": MOST_TURNS + 1, "fp32": MOST_TURNS + 1}
    assert fastest(trials(ran, bf16=fp32, fp32=bf16), tmp_path / "kept.json", "m") == winner
    assert ran["bf16"] == MOST_TURNS + 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"floats": "fp8"}'])
def test_a_spoilt_choice_is_made_again(content: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(content)
    assert fastest(trials(Counter(), bf16=0.02, fp32=0.001), kept, "m") == "fp32"
    assert "fp32" in kept.read_text()


def test_large_models_are_tried_a_few_times_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_floats, "ENOUGH_S", 0.01)
    ran: Counter[str] = Counter()
    fastest(trials(ran, bf16=0.02, fp32=0.01), tmp_path / "kept.json", "m")
    assert set(ran.values()) == {LEAST_TURNS + 1}


def loaded(precision: str = "auto") -> tuple[OpenVinoRuntime, list[dict[str, Any]]]:
    """The starter, and what was said of its number format."""
    with capture_logs() as logs:
        runtime = OpenVinoRuntime(STARTER, DetectorConfig.model_validate({"precision": precision, "image_size": 320}))
    return runtime, [line for line in logs if line["event"] == "number format chosen"]


def test_a_model_is_computed_in_what_was_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_floats, "in_question", lambda core: True)
    runtime, (line,) = loaded()
    assert (line["model"], set(line["ms"])) == (STARTER.name, {"bf16", "fp32"})
    assert runtime.info.precision == line["precision"] == min(line["ms"], key=line["ms"].get)
    again, lines = loaded()
    assert (again.info.precision, lines) == (runtime.info.precision, [])


def test_what_is_asked_for_is_not_questioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_floats, "in_question", lambda core: True)
    runtime, lines = loaded("fp32")
    assert (runtime.info.precision, lines) == ("fp32", [])


def test_where_bf16_is_surely_faster_or_missing_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cpu:
        def __init__(self, *can: str) -> None:
            self.can = can

        def get_property(self, device: str, name: str) -> tuple[str, ...]:
            return self.can

    def asked(flags: set[str], *can: str) -> bool:
        monkeypatch.setattr(openvino_floats, "cpu_flags", lambda: frozenset(flags))
        return openvino_floats.in_question(Cpu(*can))  # type: ignore[arg-type]

    assert asked({"avx512_bf16"}, "FP32", "BF16")
    assert not asked({"avx512_bf16", "amx_bf16"}, "FP32", "BF16")
    assert not asked({"avx2"}, "FP32")
