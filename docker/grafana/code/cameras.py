"""What the connections to the cameras do, and the table of cameras."""

from __future__ import annotations

from asking import CAMERA, DROPPED, EACH_CAMERA, LATENCY, increase, labelled, of, rate, sited
from limits import ANY, DROPS, LATE, SILENT
from panels import (
    AMBER,
    GREEN,
    GREY,
    RED,
    Panel,
    Query,
    coloured,
    column,
    columns,
    lines,
    stat,
    table,
    values,
)

STATES = (
    ("live", 1, GREEN),
    ("connecting", 2, AMBER),
    ("stalled", 3, RED),
    ("backoff", 4, RED),
    ("failed", 5, RED),
    ("paused", 6, GREY),
    ("ended", 7, GREY),
    ("stopped", 8, GREY),
)
STATE_NAMES = values(*((number, name, colour) for name, number, colour in STATES))
NUMBERED = (f"{of('vigil_stream_state', labelled('state', name))} * {number}" for name, number, _ in STATES)
STATE = f"max by ({CAMERA}) ({' or '.join(NUMBERED)}) > 0"
IS_DOWN = of("vigil_stream_state", 'state=~"connecting|stalled|backoff|failed"')
FRAME_AGE, INFERENCE_AGE = of("vigil_stream_last_frame_age_seconds"), of("vigil_stream_last_inference_age_seconds")
RECONNECTED = of("vigil_reconnects_total")

LIVE = stat("Live", "Cameras that are live.", f"sum({of('vigil_stream_state', labelled('state', 'live'))})")

DOWN = stat(
    "Down",
    "Cameras that should be live and are not.",
    f"count(max by ({CAMERA}) ({IS_DOWN}) == 1) or vector(0)",
    steps=ANY,
)

NOW = stat("State", "What the connection is doing.", STATE, graph="none", mappings=[STATE_NAMES], least=None)

OVER_TIME = Panel(
    "States",
    "What each camera's connection was doing. Green is live; anything red needs somebody.",
    "state-timeline",
    [Query(sited(STATE), EACH_CAMERA)],
    width=14,
    mappings=[STATE_NAMES],
    least=None,
    colour="thresholds",
    options={
        "showValue": "never",
        "rowHeight": 0.8,
        "mergeValues": True,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
    },
    custom={"fillOpacity": 80, "lineWidth": 0},
)

LAST_FRAME = stat(
    "Last frame",
    "Since the last frame was decoded: a picture that does not change is not live.",
    f"max({FRAME_AGE})",
    unit="s",
    steps=SILENT,
)

LAST_INFERENCE = stat(
    "Last inference",
    "Since what is in a frame was last told. With `attention`, a still scene is left alone.",
    f"max({INFERENCE_AGE})",
    unit="s",
)

FRESHNESS = lines(
    "Freshness",
    "Since the last frame, and since the last one that was analysed.",
    Query(f"max({FRAME_AGE})", "frame"),
    Query(f"max({INFERENCE_AGE})", "inference"),
    unit="s",
    steps=SILENT,
)

DELAY = lines(
    "Delay of the camera",
    "From when a frame was taken until it was decoded; of a camera that does not tell its time, what it was later than "
    "the quickest.",
    Query(f"max({of('vigil_camera_delay_seconds')})", "delay"),
    unit="s",
)

RECONNECTS = lines(
    "Reconnects",
    "Connections that failed or ended, in five minutes, by why.",
    Query(sited(increase(RECONNECTED, f"{CAMERA}, reason", "5m")), f"{EACH_CAMERA}: {{{{reason}}}}"),
)

RECONNECTS_OF_A_DAY = stat(
    "Reconnects, 24 h",
    "Connections that failed or ended.",
    f"sum(increase({RECONNECTED}[24h])) or vector(0)",
    width=4,
    graph="none",
    steps=((None, GREEN), (5, AMBER), (50, RED)),
)

DECODER = stat(
    "Decoder",
    "What decodes it.",
    f"max by (decoder) ({of('vigil_decoder_info')} == 1)",
    width=5,
    legend="{{decoder}}",
    graph="none",
    shows="name",
)

# Grafana merges what is asked into rows of the same site and camera, as `Value #A` and so on.
_ASKED = {
    "state": STATE,
    "analysed": rate(of("vigil_frames_total", 'outcome="analysed"'), CAMERA),
    "from camera": rate(of("vigil_frames_total", 'outcome="decoded"'), CAMERA),
    "latency p99": f"max by ({CAMERA}) ({LATENCY})",
    "dropped": f"max by ({CAMERA}) ({DROPPED})",
    "last frame": f"max by ({CAMERA}) ({FRAME_AGE})",
    "objects": f"sum by ({CAMERA}) ({of('vigil_tracks_active')})",
    "reconnects": increase(RECONNECTED, CAMERA, "1h"),
}
_VALUES = {f"Value #{chr(ord('A') + index)}": name for index, name in enumerate(_ASKED)}
_LINKS = [
    {
        "title": "Look at ${__data.fields.stream}",
        "url": "/d/vigil-stream?${datasource:queryparam}&var-site=${__data.fields.site}"
        "&var-stream=${__data.fields.stream}",
    },
    {
        "title": "Watch ${__data.fields.stream}",
        "url": "${page}/#/stream/${__data.fields.stream}",
        "targetBlank": True,
    },
]

ALL = table(
    "Cameras",
    "Each camera now. Click on its name for its own dashboard, or to watch it. `analysed` and `from camera` are frames "
    "a second; `dropped` is the share of those that were to be analysed; `reconnects` are those of the last hour.",
    [Query(sited(expr), now=True) for expr in _ASKED.values()],
    columns({"site": "site", "stream": "stream", **_VALUES}, hidden=("instance",)),
    height=9,
    sort="state",
    overrides=[
        column("stream", links=_LINKS),
        column("state", mappings=[STATE_NAMES], **coloured()),
        column("analysed", unit="fps", decimals=1),
        column("from camera", unit="fps", decimals=1),
        column("latency p99", unit="s", decimals=2, **coloured(LATE)),
        column("dropped", unit="percentunit", decimals=1, **coloured(DROPS)),
        column("last frame", unit="s", decimals=1, **coloured(SILENT)),
        column("objects", unit="none", decimals=0),
        column("reconnects", unit="none", decimals=0),
    ],
)
