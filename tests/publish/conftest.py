"""What the tests of the publishing side share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from publish.access import logins


@pytest.fixture(scope="session", autouse=True)
def real_work() -> Iterator[int]:
    """Keys of cookies cost next to nothing in these tests, which make an app each; this is what they cost otherwise."""
    work = logins._SCRYPT["n"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(logins._SCRYPT, "n", 2)
        yield work
