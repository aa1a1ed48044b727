"""What was begun and never ended, as its process was killed: the events that end it. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from publish.schema import EVENT, CountEvent, TrackEvent
from tracking.events import ENDS, EndReason, EventType

_ENDING = frozenset(ENDS.values())
# What only some events have, and an end that nobody saw has not.
_UNKNOWN = (
    "line", "direction", "speed_mps", "speed_heights", "heading", "changed", "best", "zones", "summary", "media"
)  # fmt: skip


def begins(event: TrackEvent | CountEvent) -> str | None:
    """The id of the event that will end what this one begins."""
    kind = ENDS.get(event.type)
    return None if kind is None else event.event_id.replace(f"-{event.type.value}", f"-{kind.value}")


def renews(event: TrackEvent | CountEvent) -> str | None:
    """The id of the event that will end the track, of whose life this one tells."""
    if event.type is not EventType.TRACK_UPDATED:
        return None
    track, _, _ = event.event_id.partition(f"-{event.type.value}")
    return f"{track}-{EventType.TRACK_ENDED.value}"


def ends(event: TrackEvent | CountEvent) -> str | None:
    """Its own id, when it ends something."""
    return event.event_id if event.type in _ENDING else None


def endings(unfinished: Iterable[tuple[str, bytes]]) -> list[TrackEvent]:
    """The events that end what is unfinished: ids of such events, and the bodies of those that began it.

    A track's last known frame is that of the newest of its bodies. Its visits end before it does; what a summary would
    need has gone with the process.
    """
    tracks: defaultdict[str, list[tuple[str, TrackEvent]]] = defaultdict(list)
    there: Counter[tuple[str, str | None]] = Counter()
    for event_id, body in unfinished:
        event = EVENT.validate_json(body)
        if isinstance(event, TrackEvent):
            tracks[event.track_uid].append((event_id, event))
            there[event.stream, event.zone] += event.type is EventType.ZONE_ENTERED
    told = []
    for begun in tracks.values():
        last = max((event for _, event in begun), key=lambda event: event.pts)
        # A track ends after all that it did.
        for event_id, event in sorted(begun, key=lambda one: (one[1].zone is None, -one[1].pts)):
            kind = ENDS.get(event.type, EventType.TRACK_ENDED)
            there[event.stream, event.zone] -= event.type is EventType.ZONE_ENTERED
            so_far_s = (event.duration_s or 0.0) + last.pts - event.pts
            told.append(last.model_copy(update={
                **dict.fromkeys(_UNKNOWN),
                "event_id": event_id, "type": kind, "reason": EndReason.INTERRUPTED, "zone": event.zone,
                "duration_s": None if event.zone is None else round(so_far_s, 3),
                "count": None if event.zone is None else there[event.stream, event.zone],
            }))  # fmt: skip
    return told
