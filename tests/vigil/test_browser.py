"""The page is opened where somebody can see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.real import wait_for
from vigil import browser


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a display and an `xdg-open`; the file in which that writes what it was asked."""
    asked = tmp_path / "asked"
    program = tmp_path / "xdg-open"
    program.write_text(f'#!/bin/sh\necho "$@" > {asked}.part && mv {asked}.part {asked}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DISPLAY", ":7")
    return asked


def test_a_page_is_opened_by_the_desktop(desktop: Path) -> None:
    assert browser.show("http://127.0.0.1:8600")
    wait_for("the page is opened", desktop.is_file)
    assert desktop.read_text().strip() == "http://127.0.0.1:8600"


def test_without_a_display_nothing_is_opened(desktop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in browser.DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    assert not browser.show("http://127.0.0.1:8600")
    assert not desktop.exists()


def test_without_anything_that_opens_pages_nothing_is_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not browser.show("http://127.0.0.1:8600")
