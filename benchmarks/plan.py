"""Does `vigil plan` foretell what a real run shows?

`python -m benchmarks.plan`

For a machine half full and for one far too full: the plan's use of the cores and its analysed frames a second, against
those of the service on the same config.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.clips import data_folder
from benchmarks.harness import Service, cores, save
from benchmarks.latency import streams_of

MEASURE_S = 15.0
CASES = {"half full": (4, 5.0), "three quarters full": (6, 6.0), "overfull": (8, 25.0)}


def compare(streams: int, fps: float) -> dict[str, Any]:
    """Cameras at their own speed, `fps` frames a second of each analysed."""
    config = {
        "detector": {"model": str(data_folder() / "weights" / "yolov8n.pt")},
        "streams": streams_of(streams, fps, {}),
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(config, file)
        file.flush()
        vigil = str(Path(sys.executable).with_name("vigil"))
        told = subprocess.run([vigil, "plan", file.name, "--json"], capture_output=True, text=True, check=False)
    plan = json.loads(told.stdout)
    with Service(config) as service:
        service.wait_for_frames(20)
        before = service.read()
        time.sleep(MEASURE_S)
        after = service.read()
    elapsed = after.at - before.at
    used = sum(after.cpu_s.values()) - sum(before.cpu_s.values())
    analysed = after.outcomes()["analysed"] - before.outcomes()["analysed"]
    return {
        "planned_utilisation": round(min(1.0, plan["utilisation"]), 3),
        "utilisation": round(used / elapsed / cores(), 3),
        "planned_fps": round(min(plan["capacity_fps"], streams * fps), 1),
        "fps": round(analysed / elapsed, 1),
    }


def main() -> None:
    results = {name: compare(*case) for name, case in CASES.items()}
    table = Table("case", "planned use", "use", "planned fps", "fps")
    for name, row in results.items():
        table.add_row(name, f"{row['planned_utilisation']:.0%}", f"{row['utilisation']:.0%}",
                      str(row["planned_fps"]), str(row["fps"]))  # fmt: skip
    Console(width=100).print(table)
    Console().print(f"written to {save('plan', results)}")


if __name__ == "__main__":
    main()
