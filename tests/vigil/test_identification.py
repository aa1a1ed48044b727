"""Workers ask who tracks are, over real sockets, and the supervisor answers; nobody waits, nothing is left behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from ingest.clock import NS
from tests.tracking.test_lifecycle import NAMES, frame
from tracking.events import Event, EventType, Identity
from tracking.identity.config import IdentityConfig
from tracking.identity.looks import Look
from tracking.lifecycle import Lifecycle
from tracking.metrics import TrackingMetrics
from tracking.tracks import Tracks
from vigil.child import Child
from vigil.control import Control
from vigil.identification import MOST_UNANSWERED, Identification, Inquiries, Introductions, pack, unpack

CONFIG = IdentityConfig(enabled=True, looks=2, memory=60)
AXES = np.eye(64, dtype=np.float32)


class Site:
    """A supervisor; workers by name, each with a socket of its own. Time goes when it is told to."""

    def __init__(self, config: IdentityConfig = CONFIG, started_ms: int = 1_795_230_433_127) -> None:
        self.registry = CollectorRegistry()
        self.now_s = 0.0
        self.ends: dict[str, Control] = {}
        self.identification = Identification(
            config, self.registry, clock=lambda: self.now_s, now_ns=lambda: started_ms * 1_000_000
        )

    def worker(self, name: str) -> Inquiries:
        ours, theirs = Control.pair()
        self.ends[name] = ours
        control = Control(theirs)
        inquiries = Inquiries(control.send)
        inquiries.control = control  # type: ignore[attr-defined]
        return inquiries

    def serve(self, name: str) -> None:
        """Takes all that a worker has sent."""
        child = cast(Child, SimpleNamespace(name=name, send=self.ends[name].send))
        while (order := self.ends[name].receive(wait=False)) is not None:
            self.identification.hear(child, order)

    def value(self, name: str, **labels: str) -> float | None:
        self.identification.look_after()
        return self.registry.get_sample_value(name, labels)


class Camera:
    """A session of one stream in a worker; its tracks are at the same place in every picture."""

    def __init__(self, site: Site, worker: Inquiries, name: str, stream: str, session: int = 7) -> None:
        self.site, self.worker, self.name = site, worker, name
        self.registry = CollectorRegistry()
        self.lifecycle = Lifecycle(stream, session, 0.5, NAMES, {}, {}, updates_s=5.0)
        self.introductions = Introductions(
            CONFIG, stream, session, self.lifecycle, worker, TrackingMetrics(self.registry)
        )
        self.session, self.seq = session, 0
        self.events: list[Event] = []

    def see(self, seconds: float, looks: dict[int, NDArray[np.float32]], by: str = "net") -> None:
        """Tracks by id and what they look like, five times a second; then the answers come."""
        for _ in range(round(seconds * 5)):
            self.seq += 1
            now = frame(self.seq, self.seq * NS // 5, self.session)
            count = len(looks)
            tracks = Tracks(
                np.array(list(looks), np.int64), np.tile(np.array([5, 5, 9, 9], np.float32), (count, 1)),
                np.full(count, 0.9, np.float32), np.zeros(count, np.int32), np.arange(count, dtype=np.int32),
            )  # fmt: skip
            happened = self.lifecycle.update(now, tracks)
            if count:
                self.introductions.saw(now, tracks, np.stack(list(looks.values())), NAMES, by)
            self.introductions.happened(happened)
            self.events += happened
        self.site.serve(self.name)
        self.hear()

    def hear(self) -> None:
        control = self.worker.control  # type: ignore[attr-defined]
        while (order := control.receive(wait=False)) is not None:
            self.worker.answered()
            data = order.data
            assert data["stream"] == self.lifecycle._stream
            who = Identity(data["global_id"], data["confidence"])
            self.introductions.identified(data["session"], data["track"], who)

    def ids(self) -> dict[int, str]:
        return {track: identity.global_id for track, identity in self.lifecycle.identities.items()}

    def end(self) -> None:
        ended = self.lifecycle.finish()
        self.introductions.happened(ended)
        self.events += ended
        self.site.serve(self.name)


def test_the_same_person_has_one_id_in_two_cameras_of_two_workers() -> None:
    site = Site()
    gate, yard = (Camera(site, site.worker(name), name, stream) for name, stream in (("w0", "gate"), ("w1", "yard")))
    gate.see(1, {1: AXES[0], 2: AXES[1]})
    yard.see(1, {1: AXES[1], 2: AXES[2]})
    assert gate.ids()[2] == yard.ids()[1]
    assert len({*gate.ids().values(), *yard.ids().values()}) == 3
    assert site.value("vigil_identities") == 3
    assert site.value("vigil_identity_decisions_total", outcome="new") == 3
    assert site.value("vigil_identity_decisions_total", outcome="known") == 1


def test_an_answer_becomes_an_update_and_is_in_the_end() -> None:
    site = Site()
    gate = Camera(site, site.worker("w0"), "w0", "gate")
    gate.see(1, {1: AXES[0]})
    gate.see(0.2, {1: AXES[0]})
    gate.end()
    who = gate.events[-1].identity
    assert who is not None
    told = [(event.type, event.identity) for event in gate.events]
    assert told == [(EventType.TRACK_STARTED, None), (EventType.TRACK_UPDATED, who), (EventType.TRACK_ENDED, who)]


def test_a_service_that_starts_again_uses_no_id_again() -> None:
    ids = set()
    for started_ms in (1_795_230_433_127, 1_795_230_433_128, 1_795_230_463_127):
        site = Site(started_ms=started_ms)
        camera = Camera(site, site.worker("w0"), "w0", "gate")
        camera.see(1, {1: AXES[0]})
        ids.add(camera.ids()[1])
    assert len(ids) == 3


def test_a_worker_that_ends_takes_its_tracks_with_it_and_its_persons_are_known_again() -> None:
    site = Site()
    first = Camera(site, site.worker("w0"), "w0", "gate")
    first.see(1, {1: AXES[0]})
    site.identification.gone("w0")
    again = Camera(site, site.worker("w0"), "w0", "gate", session=8)
    again.see(1, {1: AXES[0]})
    assert again.ids() == first.ids()
    site.identification.gone("w0")
    site.now_s = CONFIG.memory + 1
    assert site.value("vigil_identities") == 0, "nobody is held by a track of a worker that is gone"


def test_a_session_that_ends_lets_go_of_its_persons() -> None:
    site = Site()
    gate = Camera(site, site.worker("w0"), "w0", "gate")
    gate.see(1, {1: AXES[0], 2: AXES[1]})
    gate.see(1, {2: AXES[1]})  # the other one is lost
    site.now_s = CONFIG.memory + 1
    assert site.value("vigil_identities") == 1
    gate.end()
    assert site.value("vigil_identities") == 0
    assert not site.identification._tracks["w0"]


def test_a_worker_asks_no_more_than_has_room_and_asks_again_later() -> None:
    site = Site()
    gate = Camera(site, site.worker("w0"), "w0", "gate")
    crowd = {n + 1: AXES[n] for n in range(MOST_UNANSWERED + 8)}
    for _ in range(3):
        gate.see(0.4, crowd)
    assert len(set(gate.ids().values())) == len(crowd)
    counted = {
        outcome: gate.registry.get_sample_value(
            "vigil_identity_looks_total", {"stream": "gate", "outcome": outcome})
        for outcome in ("sent", "postponed")
    }  # fmt: skip
    assert counted["sent"] == len(crowd)
    assert counted["postponed"] == 8


def test_a_supervisor_that_does_not_answer_holds_nobody_up() -> None:
    site = Site()
    inquiries = site.worker("w0")
    look = Look(1, AXES[0], 5, tuple(range(2, 300)))
    asked = sum(inquiries.ask("gate", 1_795_230_433_127, "net", look) for _ in range(10 * MOST_UNANSWERED))
    assert asked == MOST_UNANSWERED


def test_an_answer_for_a_session_that_is_over_is_not_taken() -> None:
    site = Site()
    worker = site.worker("w0")
    old = Camera(site, worker, "w0", "gate", session=7)
    new = Camera(site, worker, "w0", "gate", session=8)
    old.see(1, {1: AXES[0]})
    new.see(0.2, {1: AXES[0]})
    new.introductions.identified(7, 1, old.lifecycle.identities[1])
    assert new.ids() == {}


def test_looks_of_another_model_are_compared_with_their_like_only() -> None:
    site = Site()
    gate, yard = (Camera(site, site.worker(name), name, stream) for name, stream in (("w0", "gate"), ("w1", "yard")))
    gate.see(1, {1: AXES[0]}, by="old")
    yard.see(1, {1: AXES[0]}, by="new")
    assert gate.ids()[1] != yard.ids()[1]
    before = {*gate.ids().values(), *yard.ids().values()}
    yard.see(1, {2: np.ones(8, np.float32) / np.float32(np.sqrt(8))}, by="new")
    assert yard.ids()[2] not in before, "the same name, but other numbers"


def test_what_it_goes_by_can_change_and_everybody_is_forgotten() -> None:
    site = Site()
    gate = Camera(site, site.worker("w0"), "w0", "gate")
    gate.see(1, {1: AXES[0]})
    site.identification.follow(CONFIG.model_copy(update={"streams": ("gate",)}))
    assert site.value("vigil_identities") == 1, "who takes part is no matter"
    site.identification.follow(CONFIG.model_copy(update={"memory": 5.0}))
    assert site.value("vigil_identities") == 0
    gate.end()


@pytest.mark.parametrize("length", [128, 512, 2048])
def test_features_cross_the_socket_hardly_changed(length: int) -> None:
    rng = np.random.default_rng(length)
    one, other = (row / np.linalg.norm(row) for row in rng.standard_normal((2, length)).astype(np.float32))
    assert float(unpack(pack(one)) @ other) == pytest.approx(float(one @ other), abs=1e-3)
    assert float(unpack(pack(one)) @ one) == pytest.approx(1, abs=1e-3)
