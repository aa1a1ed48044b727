"""Sends H.264 video over SRT as an encoder would: run by the system's Python with GStreamer (plugins bad).

    /usr/bin/python3 tests/srt_sender.py street.mp4 listener [host:port]

Reads what else it needs to know (`passphrase=…`, `streamid=…`, one a line) from its standard input, so that no process
title shows it. Prints one JSON line when it has begun.
"""

from __future__ import annotations

import json
import runpy
import sys
import threading
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

CAMERA = Path(__file__).resolve().parents[1] / "vigil" / "rtsp_server.py"


def main() -> None:
    file, mode, place = sys.argv[1:]
    secrets = dict(line.rstrip("\n").split("=", 1) for line in sys.stdin)
    Gst.init(None)
    camera = runpy.run_path(str(CAMERA))
    units, rate = camera["access_units"](file, "h264")
    wait = "true" if mode == "caller" else "false"  # a listener sends to nobody until somebody calls
    pipeline = Gst.parse_launch(
        f"appsrc name=src is-live=true format=time caps={camera['coded']('h264')} ! h264parse config-interval=-1 ! "
        f"mpegtsmux alignment=7 ! srtsink name=sink sync=false wait-for-connection={wait}"
    )
    sink = pipeline.get_by_name("sink")
    sink.set_property("uri", f"srt://{place}?mode={mode}&latency=50")
    for name, value in secrets.items():
        sink.set_property(name, value)
    loop = GLib.MainLoop()
    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message::error", lambda _bus, message: (print(message.parse_error()[0], file=sys.stderr), loop.quit()))
    pipeline.set_state(Gst.State.PLAYING)
    threading.Thread(target=camera["push"], args=(pipeline.get_by_name("src"), units, rate), daemon=True).start()
    print(json.dumps({"sending": place}), flush=True)
    loop.run()
    pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    main()
