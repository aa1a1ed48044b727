"""Cameras break beside healthy ones: it is seen in time, it heals by itself, and the healthy ones lose nothing.

The short version of `python -m benchmarks.faults`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.faults_cameras import FAULTS, Camera, serving, street
from benchmarks.faults_measure import missing
from tests.e2e.real import Inbox, RtspServer, Running, wait_for

pytestmark = pytest.mark.alone

TIMEOUT_S = 2.0
# After the time-out: the busy machine's share.
MARGIN_S = 6.0
BROKEN = ("paused", "black_holed", "reset", "turned_away", "file_empty")
HARMLESS = ("loss_5", "h264_flipped", "resolution", "pts_ahead")
HEALTHY = "healthy"


@pytest.fixture
def cameras(rtsp_server: Callable[..., RtspServer], tmp_path: Path) -> Iterator[dict[str, Camera]]:
    del rtsp_server  # skips where there is none
    with ExitStack() as stack:
        server = stack.enter_context(serving(street(tmp_path)))
        healthy = Camera(server.url(), lambda _: None)
        yield {
            HEALTHY: healthy,
            **{name: stack.enter_context(FAULTS[name].camera(tmp_path)) for name in (*BROKEN, *HARMLESS)},
        }


def left_live(inbox: Inbox, stream: str, since: float) -> bool:
    return any(
        told["stream"] == stream and told["state"] != "live" for told in inbox.status if told["_arrived"] > since
    )


def test_broken_cameras_are_noticed_and_heal_and_their_neighbour_loses_no_frame(
    cameras: dict[str, Camera], run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox]
) -> None:
    streams = {
        name: {
            "url": camera.url, "fps": 10 if name == HEALTHY else 5,
            # The others must not be called stalled because the machine is busy.
            "read_timeout": TIMEOUT_S if name in BROKEN else 5 * TIMEOUT_S, **camera.settings,
        }
        for name, camera in cameras.items()
    }  # fmt: skip
    service = run_service({"streams": streams, "workers": {"streams_per_worker": len(streams)}})
    inbox = subscribe(service)
    wait_for("frames of every camera", lambda: all(len(inbox.of(name)) > 3 for name in streams))

    failed = time.monotonic()
    for name in (*BROKEN, *HARMLESS):
        cameras[name].fail(service)
    for name in BROKEN:
        wait_for(f"{name} is noticed", lambda name=name: left_live(inbox, name, failed), 2 * TIMEOUT_S + MARGIN_S)
    mended = time.monotonic()
    for name in (*BROKEN, *HARMLESS):
        cameras[name].mend()
    for name in BROKEN:
        wait_for(f"{name} heals", lambda name=name: service.streams()[name]["state"] == "live")
    for name in cameras:
        wait_for(f"frames of {name}", lambda name=name: inbox.of(name)[-1]["_arrived"] > mended + 1.0)
    wait_for("both sizes", lambda: {frame["frame"]["width"] for frame in inbox.of("resolution")} == {320, 480})

    ended = time.monotonic()
    wait_for("what was on its way", lambda: inbox.of(HEALTHY)[-1]["_arrived"] > ended)
    assert missing(inbox.of(HEALTHY), failed, ended).lost == 0
    assert len({frame["session"] for frame in inbox.of(HEALTHY)}) == 1
    assert [name for name in HARMLESS if left_live(inbox, name, failed)] == []
    assert "restarting it" not in service.log.read_text()
