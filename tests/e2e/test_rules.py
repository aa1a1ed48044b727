"""Zones and lines on a real picture, from the config to the events on NATS and the metrics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.e2e.real import Inbox, Running, wait_for


def test_people_enter_and_leave_zones_and_cross_lines(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], street: Path
) -> None:
    """The picture moves over people who stand: to and fro, through a zone and over a line in its middle."""
    half = [[0.34, 0.0], [1.0, 0.0], [1.0, 1.0], [0.34, 1.0]]  # its edge is where one of them goes to and fro
    service = run_service({"streams": {"cam": {
        "url": str(street), "loop": True,
        "zones": {"half": {"polygon": half, "dwell": 0.5, "hold": 0.1}},
        "lines": {"middle": {"from": [0.34, 1.0], "to": [0.34, 0.0], "hold": 0.1}},
    }}})  # fmt: skip
    inbox = subscribe(service)

    def seen(kind: str) -> list[dict[str, object]]:
        return [event for event in inbox.events if event["type"] == kind]

    wait_for("both ways over the line", lambda: {event["direction"] for event in seen("line.crossed")} == {
        "left", "right"})  # fmt: skip
    wait_for("a long stay", lambda: seen("zone.dwell"))
    wait_for("someone left", lambda: seen("zone.left"))
    counted = r'vigil_line_crossings_total\{[^}]*direction="right"[^}]*\} [1-9]'
    wait_for("a crossing in the metrics", lambda: re.search(counted, service.get("/metrics")))
    assert 'vigil_zone_objects{stream="cam",zone="half"}' in service.get("/metrics")
    assert service.stop() == 0
    stays = Counter[object]()
    for event in inbox.events:
        stays[event["track_uid"]] += {"zone.entered": 1, "zone.left": -1}.get(event["type"], 0)
        assert stays[event["track_uid"]] in (0, 1)
        assert ("zone" in event) == event["type"].startswith("zone.")
    assert not +stays
    dwelt = [event["duration_s"] for event in seen("zone.dwell")]
    assert all(0.5 <= seconds < 1.5 for seconds in dwelt)  # type: ignore[operator]
