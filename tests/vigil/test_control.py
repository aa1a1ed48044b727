"""Messages between the supervisor and its children arrive whole, with the descriptors that belong to them."""

from __future__ import annotations

import os
import socket

import pytest

from vigil.control import MAX_FDS, Control


@pytest.fixture
def ends() -> tuple[Control, Control]:
    ours, theirs = Control.pair()
    return ours, Control(theirs)


def test_a_message_arrives_with_its_data(ends: tuple[Control, Control]) -> None:
    ours, theirs = ends
    ours.send("start", stream="gate", numbers=[1, 2], nested={"a": None})
    order = theirs.receive()
    assert order is not None
    assert (order.kind, order.data, order.fds) == (
        "start", {"stream": "gate", "numbers": [1, 2], "nested": {"a": None}}, [],
    )  # fmt: skip


def test_what_is_no_text_arrives_as_well_as_it_can(ends: tuple[Control, Control]) -> None:
    ours, theirs = ends
    ours.send("failed", message=os.fsdecode(b"no such file: caf\xe9.mp4"))
    order = theirs.receive()
    assert order is not None and order.data == {"message": "no such file: caf?.mp4"}


def test_messages_go_both_ways_and_stay_apart(ends: tuple[Control, Control]) -> None:
    ours, theirs = ends
    for number in range(5):
        ours.send("tick", number=number)
    theirs.send("tock")
    received = [theirs.receive() for _ in range(5)]
    assert [order.data["number"] for order in received if order] == [0, 1, 2, 3, 4]
    answer = ours.receive()
    assert answer is not None
    assert answer.kind == "tock"


@pytest.mark.parametrize("count", [1, MAX_FDS])
def test_descriptors_travel_with_their_message(ends: tuple[Control, Control], count: int) -> None:
    ours, theirs = ends
    pipes = [os.pipe() for _ in range(count)]
    ours.send("before")
    ours.send("link", [write for _, write in pipes], worker="w1")
    first, order = theirs.receive(), theirs.receive()
    assert first is not None
    assert order is not None
    assert first.fds == []
    assert len(order.fds) == count
    for number, fd in enumerate(order.fds):
        os.write(fd, bytes([number]))
        assert os.read(pipes[number][0], 1) == bytes([number])
    for fd in [*order.fds, *(fd for pipe in pipes for fd in pipe)]:
        os.close(fd)


def test_received_descriptors_are_not_inherited_by_accident(ends: tuple[Control, Control]) -> None:
    ours, theirs = ends
    read, write = os.pipe()
    ours.send("link", [read])
    order = theirs.receive()
    assert order is not None
    assert not os.get_inheritable(order.fds[0])
    for fd in (read, write, *order.fds):
        os.close(fd)


def test_nothing_to_receive_is_none_without_waiting(ends: tuple[Control, Control]) -> None:
    assert ends[1].receive(wait=False) is None


@pytest.mark.parametrize("wait", [True, False])
def test_a_dead_peer_is_an_eof(ends: tuple[Control, Control], wait: bool) -> None:
    ours, theirs = ends
    ours.close()
    with pytest.raises(EOFError):
        theirs.receive(wait)


def test_what_was_sent_before_dying_still_arrives(ends: tuple[Control, Control]) -> None:
    ours, theirs = ends
    ours.send("last words")
    ours.close()
    order = theirs.receive()
    assert order is not None
    assert order.kind == "last words"
    with pytest.raises(EOFError):
        theirs.receive()


def test_sending_to_a_dead_peer_is_an_os_error(ends: tuple[Control, Control]) -> None:
    ours, theirs = ends
    theirs.close()
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        ours.send("anyone?")


def test_a_large_message_arrives_whole(ends: tuple[Control, Control]) -> None:
    """A process's whole metrics are one message."""
    ours, theirs = ends
    families = ["x" * 100] * 1000
    ours.send("metrics", families=families)
    order = theirs.receive()
    assert order is not None
    assert order.data["families"] == families


def test_a_child_takes_its_end_from_the_descriptor_it_was_started_with() -> None:
    ours, theirs = Control.pair()
    child = Control.inherited(theirs.detach())
    child.send("ready")
    order = ours.receive()
    assert order is not None
    assert order.kind == "ready"
    assert child.link.type == socket.SOCK_SEQPACKET
