"""The three dashboards: which panels, in which order."""

from __future__ import annotations

from typing import Any

import alerts
import cameras
import delivery
import frames
import machine
import seen
from board import Row, dashboard, link, page_variable, source_variable, to, variable

CHOSEN = [
    source_variable(),
    variable("site", "Site", "label_values(vigil_config_info, site)"),
    # Without `everything`: all instances are those of the chosen sites.
    variable("instance", "Instance", 'label_values(vigil_config_info{site=~"$site"}, instance)', hidden=True),
]
# A camera's dashboard is of one site, as there may be a camera of its name in another.
CHOSEN_CAMERA = [
    source_variable(),
    variable("site", "Site", "label_values(vigil_config_info, site)", many=False),
    *CHOSEN[2:],
]
STREAMS = 'label_values(vigil_stream_state{instance=~"$instance"}, stream)'
TO_OVERVIEW = link("Overview", to("vigil-overview"))
TO_CAMERA = link("Camera", to("vigil-stream"))
TO_CAPACITY = link("Capacity and errors", to("vigil-capacity"))
TO_PAGE = link("Vigil's page", "$page", new_tab=True)


def overview() -> dict[str, Any]:
    return dashboard(
        "vigil-overview",
        "Vigil: overview",
        "Is everything watched, what is not, and since when?",
        [*CHOSEN, variable("stream", "Camera", STREAMS, everything=".*"), page_variable()],
        [
            Row(
                "Now",
                [
                    alerts.COUNT,
                    alerts.AWAY,
                    cameras.DOWN,
                    cameras.LIVE,
                    frames.MOST_DROPPED,
                    frames.SLOWEST,
                    delivery.OLDEST,
                    delivery.CONNECTED,
                ],
            ),
            Row("Cameras", [cameras.ALL, cameras.OVER_TIME, alerts.LIST]),
            Row(
                "Over time",
                [
                    frames.ANALYSED,
                    frames.LATENCY_OF_EACH,
                    frames.DROPPED_BY_REASON,
                    cameras.RECONNECTS,
                    seen.EVENTS.sized(24),
                ],
            ),
        ],
        [TO_CAMERA, TO_CAPACITY, TO_PAGE],
    )


def stream() -> dict[str, Any]:
    return dashboard(
        "vigil-stream",
        "Vigil: camera",
        "What is with this camera?",
        [*CHOSEN_CAMERA, variable("stream", "Camera", STREAMS, many=False), page_variable()],
        [
            Row(
                "$stream",
                [
                    cameras.NOW,
                    cameras.LAST_FRAME,
                    cameras.LAST_INFERENCE,
                    frames.SLOWEST,
                    frames.MOST_DROPPED,
                    cameras.RECONNECTS_OF_A_DAY,
                    cameras.DECODER,
                    cameras.OVER_TIME.sized(24, 4),
                ],
            ),
            Row(
                "Frames",
                [
                    frames.OUTCOMES,
                    frames.LATENCY_OF_ONE,
                    frames.LATENCY_IN_FULL,
                    cameras.FRESHNESS,
                    cameras.DELAY,
                    cameras.RECONNECTS,
                ],
            ),
            Row("What it sees", [seen.OBJECTS, seen.CLASSES, seen.EVENTS, seen.ZONES, seen.CROSSINGS, seen.ENTRIES]),
        ],
        [TO_OVERVIEW, TO_CAPACITY, link("Watch it", "${page}/#/stream/${stream}", new_tab=True)],
    )


def capacity() -> dict[str, Any]:
    return dashboard(
        "vigil-capacity",
        "Vigil: capacity and errors",
        "What is short, and what goes wrong?",
        [*CHOSEN, page_variable()],
        [
            Row(
                "What is short",
                [
                    machine.DETECTORS,
                    machine.CPU,
                    machine.STAGES,
                    machine.STAGES_IN_ALL,
                    machine.BATCHES,
                    machine.MEMORY,
                    machine.FILES,
                ],
            ),
            Row("GPUs", [machine.GPUS, machine.GPU_MEMORY, machine.GPU_HEAT, machine.GPU_SLOWED]),
            Row(
                "Delivery",
                [
                    delivery.EVENTS_WAITING,
                    delivery.OLDEST_OVER_TIME,
                    delivery.TROUBLES,
                    delivery.LOST,
                    delivery.BRIDGES,
                    delivery.BRIDGES_FAILING,
                ],
            ),
            Row("Viewers", [delivery.VIEWERS, delivery.SENT, delivery.PICTURES]),
            Row(
                "Errors and disks",
                [
                    machine.RESTARTS,
                    machine.FAILED,
                    delivery.BROKEN,
                    machine.DISKS,
                    delivery.STORE,
                    machine.SCRAPES,
                    machine.LOADED,
                ],
            ),
        ],
        [TO_OVERVIEW, TO_CAMERA, TO_PAGE],
    )
