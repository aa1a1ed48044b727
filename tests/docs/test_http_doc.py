"""The guide to HTTP names every route of the table, and every code that it is about is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from publish.access.routes import TABLE, Access

GUIDE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()


@pytest.mark.parametrize("path", sorted({route.path for route in TABLE if route.path != "/favicon.ico"}))
def test_every_route_is_in_the_guide(path: str) -> None:
    path = re.sub(r":path}", "}", path)
    last = "/" + path.rsplit("/", 1)[-1]
    known = path in GUIDE or path.startswith(("/page/", "/whip/", "/whep/")) or f"`{last}`" in GUIDE
    assert known, path


def test_what_changes_something_is_said_to_take_the_token() -> None:
    rows = {row.split("|")[1]: row.split("|")[2] for row in GUIDE.splitlines() if row.startswith("| `")}
    for route in TABLE:
        if route.access is Access.WRITE and route.path.count("{") == 0:
            told = [takes for routes, takes in rows.items() if f"{route.path}`" in routes and "the token" in takes]
            assert told, route.path
