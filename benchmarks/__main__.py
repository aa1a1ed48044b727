"""Runs the benchmarks, all or those named: `python -m benchmarks [throughput] [peers] [latency] [models]`."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("throughput", "peers", "latency", "models")

chosen = sys.argv[1:] or BENCHMARKS
for name in chosen:
    if name not in BENCHMARKS:
        raise SystemExit(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
for name in chosen:
    print(f"\n{name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
