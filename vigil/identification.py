"""Who a track is, across cameras: workers ask, over their control sockets, and the supervisor decides and answers.

| message      | from       | says                                                                       |
|--------------|------------|----------------------------------------------------------------------------|
| `looked`     | worker     | what a track looks like                                                    |
| `identified` | supervisor | who that is: the answer to each `looked`                                   |
| `departed`   | worker     | tracks that were told of and have ended                                    |

A worker has few unanswered messages at a time; what there is no room for waits in its track, and is told later.
"""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from inference.features import Features
from tracking.events import Event, EventType, Identity
from tracking.identity.config import IdentityConfig
from tracking.identity.identities import Identities, Likeness
from tracking.identity.looks import Look, Looks
from tracking.metrics import TrackingMetrics
from vigil.control import Order

if TYPE_CHECKING:
    from ingest.frame import Frame
    from tracking.lifecycle import Lifecycle
    from tracking.tracks import Tracks
    from vigil.child import Child

log = structlog.get_logger()

LOOKED, IDENTIFIED, DEPARTED = "looked", "identified", "departed"
# Messages of a few kilobytes each: they fit into the socket beside all else, and are answered in milliseconds.
MOST_UNANSWERED = 16
# What is made with another model cannot be compared; while streams change over to one there are two.
MOST_MODELS = 2


def pack(features: Features) -> str:
    """Numbers of half precision: what that takes from a cosine is a thousandth of how much it scatters."""
    return base64.b64encode(features.astype(np.float16).tobytes()).decode()


def unpack(packed: str) -> Features:
    features = np.frombuffer(base64.b64decode(packed), np.float16).astype(np.float32)
    return features / np.float32(np.linalg.norm(features) or 1.0)


class Inquiries:
    """A worker's questions who tracks are. In the worker's loop."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send
        self._unanswered = 0

    def ask(self, stream: str, session: int, by: str, look: Look) -> bool:
        """Whether there was room for the question."""
        if self._unanswered >= MOST_UNANSWERED:
            return False
        self._unanswered += 1
        self._send(
            LOOKED, stream=stream, session=session, track=look.track_id, by=f"{by} [{len(look.features)}]",
            features=pack(look.features), looks=look.looks, beside=look.beside,
        )  # fmt: skip
        return True

    def answered(self) -> None:
        self._unanswered -= 1

    def departed(self, stream: str, session: int, tracks: Sequence[int]) -> None:
        self._send(DEPARTED, stream=stream, session=session, tracks=tracks)


class Introductions:
    """Has the tracks of one session named. In the worker's loop."""

    def __init__(
        self, config: IdentityConfig, stream: str, session: int, lifecycle: Lifecycle, inquiries: Inquiries,
        metrics: TrackingMetrics,
    ) -> None:  # fmt: skip
        self._classes = config.classes
        self._stream = stream
        self._session = session
        self._lifecycle = lifecycle
        self._inquiries = inquiries
        self._looks = Looks(config.looks)
        self._counts = {
            sent: metrics.identity_looks.labels(stream, "sent" if sent else "postponed") for sent in (True, False)
        }

    def saw(self, frame: Frame, tracks: Tracks, features: Features, names: Sequence[str], by: str) -> None:
        """Takes a picture's tracks, and what its detections look like by the model `by`; `names` are the classes."""
        wanted = {n for n, name in enumerate(names) if name in self._classes}
        for look in self._looks.see(frame.pts_ns, tracks, features, wanted, by):
            sent = self._inquiries.ask(self._stream, self._session, by, look)
            self._counts[sent].inc()
            if sent:
                self._looks.told(look.track_id, frame.pts_ns)

    def identified(self, session: int, track: int, identity: Identity) -> None:
        """The answer; it comes too late when the session is over."""
        if session == self._session and self._lifecycle.identities.get(track) != identity:
            self._lifecycle.identified(track, identity)

    def happened(self, events: Sequence[Event]) -> None:
        """Lets go of tracks that have ended."""
        ended = [event.track_id for event in events if event.type is EventType.TRACK_ENDED]
        if told := [track_id for track_id in ended if self._looks.ended(track_id)]:
            self._inquiries.departed(self._stream, self._session, told)


class Identification:
    """Decides who is who, for all workers. In the supervisor's loop.

    Times are those at which messages come here: one clock for all cameras, which no camera can set. Who is known is in
    memory only, and a service that starts knows nobody; its ids begin with when it started, so that none comes again.
    """

    def __init__(
        self, config: IdentityConfig, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:  # fmt: skip
        self._config = config.of_all
        self._clock = clock
        self._start = _letters(now_ns() // 1_000_000)
        self._named = 0
        self._people: OrderedDict[str, Identities] = OrderedDict()  # by what looks were made with
        self._tracks: dict[str, set[tuple[str, str]]] = {}  # by worker
        self._persons = Gauge(
            "vigil_identities", "Persons who are remembered, to be known again across cameras.", registry=registry
        )
        self._decisions = Counter(
            "vigil_identity_decisions", "Tracks that were compared across cameras, by whether they were someone new.",
            ["outcome"], registry=registry,
        )  # fmt: skip

    def hear(self, worker: Child, order: Order) -> None:
        """Takes a worker's message."""
        stream, session = order.data["stream"], order.data["session"]
        own = self._tracks.setdefault(worker.name, set())
        if order.kind == DEPARTED:
            for track in order.data["tracks"]:
                own.discard((stream, f"{session}/{track}"))
                self._end(stream, f"{session}/{track}")
            return
        name = f"{session}/{order.data['track']}"
        identity, is_new = self._made_with(order.data["by"]).see(
            stream, name, self._clock(), unpack(order.data["features"]), order.data["looks"],
            [f"{session}/{other}" for other in order.data["beside"]],
        )  # fmt: skip
        if (stream, name) not in own:
            own.add((stream, name))
            self._decisions.labels("new" if is_new else "known").inc()
        worker.send(
            IDENTIFIED, stream=stream, session=session, track=order.data["track"], global_id=identity.global_id,
            confidence=identity.confidence,
        )  # fmt: skip

    def follow(self, config: IdentityConfig) -> None:
        """What it goes by has changed: everybody is forgotten, as those who take part start afresh too."""
        if config.of_all != self._config:
            self._config = config.of_all
            self._people.clear()

    def gone(self, worker: str) -> None:
        """A worker has ended, and all its tracks with it."""
        for stream, track in self._tracks.pop(worker, ()):
            self._end(stream, track)

    def look_after(self) -> None:
        """Forgets who is to be forgotten by now, and brings the metrics up to date; called now and then."""
        now_s = self._clock()
        for people in self._people.values():
            people.forget(now_s)
        self._persons.set(sum(len(people) for people in self._people.values()))

    def _made_with(self, by: str) -> Identities:
        people = self._people.get(by)
        if people is None:
            if self._people:
                log.warning("looks are made with another model: nobody is known again by them", model=by)
            set_ = self._config.likeness
            likeness = None if set_ is None else Likeness(set_.same, set_.different, set_.deviation)
            people = self._people[by] = Identities(self._new_id, likeness, self._config.memory)
            if len(self._people) > MOST_MODELS:
                self._people.popitem(last=False)
        return people

    def _end(self, stream: str, track: str) -> None:
        for people in self._people.values():
            people.ended(stream, track)

    def _new_id(self) -> str:
        self._named += 1
        return f"{self._start}-{self._named}"


def _letters(number: int) -> str:
    """A whole number in base 36."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"
