"""What was found to be the fastest, kept for the next start."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def kept_choice(file: Path, what: str) -> str | None:
    """The choice of `what` that was kept there; None: there is none, or it cannot be read."""
    try:
        return str(json.loads(file.read_text())[what])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_choice(file: Path, what: str, chosen: str, measured: Mapping[str, float]) -> None:
    """Writes it whole or not at all; `measured` is for people."""
    part = file.with_suffix(f".part{os.getpid()}")
    part.write_text(json.dumps({what: chosen, "measured": dict(measured)}))
    part.replace(file)
