"""Who is where follows from the durable events, however often they come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from publish.bridges.contract import Told
from publish.bridges.presence import Presence


def told(kind: str, track: int, session: int = 1, what: str = "person", zone: str | None = None) -> Told:
    return Told(event_id="x", type=kind, stream="gate", session=session, track_id=track, class_name=what, zone=zone)


def after(*events: Told) -> Presence:
    presence = Presence()
    for sequence, event in enumerate(events, 1):
        presence.apply(event, sequence)
    return presence


def test_tracks_count_in_the_picture_and_in_their_zones() -> None:
    presence = after(
        told("track.started", 1), told("track.started", 2, what="car"), told("zone.entered", 1, zone="drive"),
        told("zone.entered", 2, what="car", zone="drive"), told("zone.entered", 1, zone="door"),
        told("zone.left", 1, zone="drive"),
    )  # fmt: skip
    assert presence.counts() == {(None, "person"): 1, (None, "car"): 1, ("drive", "car"): 1, ("door", "person"): 1}


def test_a_track_that_ended_is_nowhere() -> None:
    presence = after(told("track.started", 1), told("zone.entered", 1, zone="drive"), told("track.ended", 1))
    assert presence.counts() == {}
    assert presence.known == {(None, "person"), ("drive", "person")}


def test_what_something_is_may_become_clearer() -> None:
    presence = after(told("track.started", 1, what="car"), told("zone.entered", 1, what="truck", zone="drive"))
    assert presence.counts() == {(None, "truck"): 1, ("drive", "truck"): 1}


def test_a_later_session_ends_what_was_before_and_an_earlier_one_changes_nothing() -> None:
    presence = after(told("track.started", 1), told("track.started", 7, session=2), told("track.started", 3))
    assert presence.counts() == {(None, "person"): 1}
    assert list(presence.tracks) == [7]


def test_events_of_no_track_and_of_unknown_tracks_add_nobody() -> None:
    nobody = Told(event_id="x", type="line.counted", stream="gate", session=1, line="exit")
    assert after(nobody, told("zone.dwell", 1, zone="drive"), told("zone.left", 2, zone="drive")).counts() == {}


def test_who_enters_a_zone_is_there_though_the_start_was_not_heard() -> None:
    assert after(told("zone.entered", 1, zone="drive")).counts() == {(None, "person"): 1, ("drive", "person"): 1}


KINDS = st.sampled_from(["track.started", "track.ended", "zone.entered", "zone.left"])
EVENTS = st.lists(
    st.builds(told, KINDS, st.integers(1, 3), st.integers(1, 2), st.just("person"), st.sampled_from(["a", "b"])),
    max_size=30,
)


@given(EVENTS, st.data())
def test_coming_back_after_a_crash_changes_nothing(events: list[Told], data: st.DataObject) -> None:
    """The state is saved after some event; the consumer goes on at some event before the next."""
    events = sorted(events, key=lambda event: event.session)
    whole = after(*events)
    saved_at = data.draw(st.integers(0, len(events)))
    presence = Presence.model_validate_json(after(*events[:saved_at]).model_dump_json())
    for sequence, event in list(enumerate(events, 1))[data.draw(st.integers(0, saved_at)) :]:
        presence.apply(event, sequence)
    assert presence.counts() == whole.counts()
    assert presence.tracks == whole.tracks
