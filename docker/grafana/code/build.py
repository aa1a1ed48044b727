"""Writes the dashboards: `python docker/grafana/code/build.py`, or `make schema`. Edit this folder, not the JSON."""

from __future__ import annotations

import json
from pathlib import Path

from dashboards import capacity, overview, stream

FOLDER = Path(__file__).parents[1] / "dashboards"
DASHBOARDS = {"overview": overview, "stream": stream, "capacity": capacity}


def written(name: str) -> str:
    """A dashboard's file."""
    return json.dumps(DASHBOARDS[name](), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(written(name))
