"""Whether events leave, pictures are kept and viewers are served."""

from __future__ import annotations

from asking import EACH_CAMERA, here, increase, rate, sited
from limits import WAITING, steps
from panels import GREEN, RED, Query, lines, stat, values

OLDEST = stat(
    "Events wait for",
    "For how long the oldest event on disk has waited for NATS. More than a moment: it is away or slow.",
    f"max({here('vigil_outbox_oldest_seconds')})",
    unit="s",
    steps=WAITING,
)

CONNECTED = stat(
    "NATS",
    "Whether every process is connected to NATS.",
    f"min({here('vigil_nats_connected')})",
    graph="none",
    steps=((None, RED), (1, GREEN)),
    mappings=[values((0, "away", RED), (1, "connected", GREEN))],
)

EVENTS_WAITING = lines(
    "Events waiting",
    "Events on disk that NATS has not acknowledged.",
    Query(sited(here("vigil_outbox_pending")), "{{site}}"),
    width=8,
)

OLDEST_OVER_TIME = lines(
    "For how long the oldest waits",
    "More than a moment: NATS is away or slow.",
    Query(sited(here("vigil_outbox_oldest_seconds")), "{{site}}"),
    unit="s",
    steps=WAITING,
    width=8,
)

TROUBLES = lines(
    "Troubles with NATS",
    "By name, over all processes; /api/v1/nats explains them.",
    Query(sited(f"sum by (instance, code) ({here('vigil_nats_troubles')})"), "{{site}}: {{code}}"),
    width=8,
)

LOST = lines(
    "Lost",
    "Frame results and events that were given up, in ten minutes.",
    Query(sited(increase(here("vigil_frame_results_dropped_total"), "instance", "10m")), "{{site}}: frame results"),
    Query(
        sited(increase(here("vigil_events_dropped_total"), "instance, reason", "10m")), "{{site}}: events {{reason}}"
    ),
    width=8,
)

BRIDGES = lines(
    "Bridges: waiting",
    "Events that each webhook or MQTT broker has yet to take.",
    Query(sited(here("vigil_bridge_pending")), "{{site}}: {{bridge}}"),
    steps=steps("VigilBridgeBehind"),
    width=8,
)

BRIDGES_FAILING = lines(
    "Bridges: failures",
    "Deliveries that failed, in five minutes.",
    Query(
        sited(increase(here("vigil_bridge_failed_total"), "instance, bridge, reason", "5m")),
        "{{site}}: {{bridge}} {{reason}}",
    ),
    width=8,
)

VIEWERS = lines(
    "Viewers",
    "Who watches which camera, and how it is shown to them.",
    Query(
        sited(f"sum by (instance, stream, overlay) ({here('vigil_preview_viewers')})"), f"{EACH_CAMERA} {{{{overlay}}}}"
    ),
    width=8,
)

SENT = lines(
    "Sent to viewers",
    "All viewers of each camera together.",
    Query(sited(f"{rate(here('vigil_preview_bytes_total'), 'instance, stream')} * 8"), EACH_CAMERA),
    unit="bps",
    stacked=True,
    width=8,
)

PICTURES = lines(
    "Pictures for viewers",
    "Forwarded as the camera sent them, encoded with boxes drawn on them, or dropped, and why.",
    Query(rate(here("vigil_preview_frames_total"), "outcome"), "{{outcome}}"),
    unit="fps",
    stacked=True,
    width=8,
)

BROKEN = lines(
    "Broken video",
    "Packets a second that could not be decoded.",
    Query(sited(rate(here("vigil_packets_total", 'outcome="broken"'), "instance, stream")), EACH_CAMERA),
    unit="cps",
    width=8,
)

STORE = lines(
    "Pictures and clips",
    "What is in the store, and what waits for it.",
    Query(sited(here("vigil_media_stored_bytes")), "{{site}}: stored"),
    Query(sited(here("vigil_media_backlog_bytes")), "{{site}}: waiting"),
    unit="bytes",
    width=8,
)
