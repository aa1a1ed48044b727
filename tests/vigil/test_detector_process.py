"""A detector that loads for long is not taken for one that hangs."""

from __future__ import annotations

import pytest

from vigil import detector
from vigil.control import Control


def test_it_tells_that_it_loads_until_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "BEAT_S", 0.01)
    supervisor, theirs = Control.pair()
    with theirs, detector._told_to_be_loading(Control(theirs)):
        beats = [supervisor.receive(), supervisor.receive()]
    assert [beat and beat.kind for beat in beats] == ["beat", "beat"]
    with pytest.raises(EOFError):  # nothing comes any more
        while supervisor.receive() is not None:
            pass
    supervisor.close()


def test_a_load_that_never_ends_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "BEAT_S", 0.01)
    monkeypatch.setattr(detector, "LONGEST_LOAD_S", 0.0)
    supervisor, theirs = Control.pair()
    with theirs, detector._told_to_be_loading(Control(theirs)):
        pass
    with pytest.raises(EOFError):
        supervisor.receive()
    supervisor.close()
