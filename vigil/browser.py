"""Showing a web page to who sits at this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

# Whoever opens pages here, in the order in which they are asked; none of them draws into the terminal.
OPENERS = ("xdg-open", "gio", "wslview", "open")
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "WSL_INTEROP")


def opener() -> list[str] | None:
    """The command that opens a page; None where there is no display, or nothing that could."""
    if sys.platform != "darwin" and not any(os.environ.get(name) for name in DISPLAYS):
        return None
    for name in OPENERS:
        if path := shutil.which(name):
            return [path, "open"] if name == "gio" else [path]
    return None


def show(url: str) -> bool:
    """Opens the page, in the background and out of reach of the terminal's Ctrl-C; whether that could be tried."""
    command = opener()
    if command is None:
        return False
    try:
        subprocess.Popen(
            [*command, url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    return True
