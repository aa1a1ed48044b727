import os

from ingest.activity import Activity

SECOND = 1_000_000_000


def test_another_mapping_sees_which_streams_are_in_a_call_and_which_should_have_returned() -> None:
    ours = Activity.create(3)
    theirs = Activity(os.dup(ours.fd), 3)
    ours.enter(0, 10 * SECOND, 5.0)
    with ours.calling(2, 10 * SECOND, 1.0):
        assert theirs.inside() == [0, 2]
        assert theirs.overdue(11 * SECOND) == []  # exactly then is in time
        assert theirs.overdue(11 * SECOND + 1) == [2]
    assert theirs.inside() == [0]
    ours.leave(0)
    assert theirs.inside() == [] == theirs.overdue(60 * SECOND)


def test_a_call_that_raises_is_over() -> None:
    activity = Activity.create(1)
    try:
        with activity.calling(0, SECOND, 1.0):
            raise OSError
    except OSError:
        pass
    assert activity.inside() == []
