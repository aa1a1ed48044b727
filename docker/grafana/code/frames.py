"""What becomes of frames, and how long it takes."""

from __future__ import annotations

from asking import CAMERA, DROPPED, EACH_CAMERA, LATENCY, of, rate, sited
from limits import DROPS, LATE
from panels import Panel, Query, lines, stat

FRAMES = "vigil_frames_total"

SLOWEST = stat(
    "Latency p99",
    "Of a hundred results of the slowest camera, the slowest one's way from the frame's arrival to NATS.",
    f"max({LATENCY})",
    unit="s",
    steps=LATE,
)

MOST_DROPPED = stat(
    "Dropped",
    "Of the frames that were to be analysed, the share that was not, for want of time, room or a detector; of the "
    "camera that has lost most.",
    f"max({DROPPED})",
    unit="percentunit",
    steps=DROPS,
)

ANALYSED = lines(
    "Analysed frames",
    "Frames of each camera that were analysed, a second.",
    Query(sited(rate(of(FRAMES, 'outcome="analysed"'), CAMERA)), EACH_CAMERA),
    unit="fps",
)

LATENCY_OF_EACH = lines(
    "Latency p99 of each camera",
    "From a frame's arrival to its published result; of a hundred, the slowest one's.",
    Query(sited(f"max by ({CAMERA}) ({LATENCY})"), EACH_CAMERA),
    unit="s",
    steps=LATE,
)

DROPPED_BY_REASON = lines(
    "Frames dropped, by reason",
    "Frames a second that were to be analysed and were not, over all chosen cameras.",
    Query(rate(of(FRAMES, 'outcome=~"dropped_.+"'), "outcome"), "{{outcome}}"),
    unit="fps",
    stacked=True,
)

OUTCOMES = lines(
    "What became of its frames",
    "Frames a second: analysed, dropped for want of something, skipped as not wanted.",
    Query(rate(of(FRAMES, 'outcome!="decoded"'), "outcome"), "{{outcome}}"),
    Query(rate(of("vigil_packets_total"), "outcome"), "packets {{outcome}}"),
    unit="fps",
    stacked=True,
)

LATENCY_OF_ONE = lines(
    "Latency",
    "From a frame's arrival to its published result: half of them take less than p50.",
    Query(f"max({of('vigil:end_to_end_seconds:p50_2m')})", "p50"),
    Query(f"max({LATENCY})", "p99"),
    unit="s",
    steps=LATE,
)

LATENCY_IN_FULL = Panel(
    "Latency, in full",
    "How many results took how long.",
    "heatmap",
    [Query(rate(of("vigil_end_to_end_seconds_bucket"), "le"), "{{le}}", format="heatmap")],
    unit="s",
    least=None,
    options={
        "calculate": False,
        "yAxis": {"unit": "s"},
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "tooltip": {"mode": "single", "yHistogram": True},
        "legend": {"show": True},
        "rowsFrame": {"layout": "le"},
    },
)
