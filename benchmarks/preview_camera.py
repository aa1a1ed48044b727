"""The camera of `benchmarks/preview.py`: vigil/rtsp_server.py, which also tells when it began to play.

    /usr/bin/python3 benchmarks/preview_camera.py gate=clip.mp4

Prints a JSON line with the port, then one with the wall-clock time of the first picture whenever playing begins;
picture n of the clip, at 25 a second, is shown n / 25 seconds after that.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

server = runpy.run_path(str(Path(__file__).parents[1] / "vigil" / "rtsp_server.py"))
play = server["push"]


def push(*arguments: Any) -> None:
    print(json.dumps({"began": time.time()}), flush=True)
    play(*arguments)


server["main"].__globals__["push"] = push
sys.argv[1:1] = ["--port", "0"]
server["main"]()
