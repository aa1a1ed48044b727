"""Processes that compile the same function at once leave what each of them can use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ingest.compiled import PACKAGES

TYPES = ("int64", "float64")

# Compiles, or loads, `total` for each of the types, once the file `go` is there. Between reading the list of what there
# is and writing it anew so much time passes that the processes meet there.
PROGRAM = """
import sys, time
from pathlib import Path

import numpy as np
from numba.core.caching import IndexDataCacheFile

from ingest.compiled import compiled

@compiled
def total(values):
    result = values[0]
    for value in values[1:]:
        result += value
    return result

write = IndexDataCacheFile._save_index

def write_slowly(self, overloads):
    time.sleep(0.2)
    write(self, overloads)

IndexDataCacheFile._save_index = write_slowly
go, *types = sys.argv[1:]
print("ready", flush=True)
while not Path(go).exists():
    time.sleep(0.001)
for name in types:
    assert total(np.arange(5).astype(name)) == 10, name
    print(name, len(total.stats.cache_hits), flush=True)
"""


def test_what_one_process_compiles_another_does_not_overwrite(tmp_path: Path) -> None:
    program, go = tmp_path / "total.py", tmp_path / "go"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def start(*types: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(program), str(go), *types], env=environment, stdout=subprocess.PIPE, text=True
        )

    running = [start(*types) for types in (TYPES[:1], TYPES[1:])]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    assert [process.wait(60) for process in running] == [0, 0]
    told, _ = start(*TYPES).communicate(timeout=60)
    assert told.splitlines()[-1] == f"{TYPES[-1]} {len(TYPES)}", "all of them were kept"
