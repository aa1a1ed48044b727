"""Asks an HTTP API by schemathesis what its OpenAPI document allows, and what it does not.

A module of its own, as schemathesis takes seconds to import and every test process imports every file of tests.
"""

from __future__ import annotations

from typing import Any

import schemathesis
from starlette.types import Receive, Scope, Send

from benchmarks.fuzz_http import CHECKS, ask_everything

# Of each route, right ones and wrong ones.
EXAMPLES = 5


def does_not_fail(context: Any, response: Any, case: schemathesis.Case) -> None:
    """That it cannot serve now, 503, is an answer; 500 is none."""
    del context
    assert response.status_code != 500, f"{case.method} {case.path}: {response.text}"


class Local:
    """Requests come from this machine."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
        here = {"client": ("127.0.0.1", 40000), "headers": [*headers, (b"host", b"localhost")]}
        await self._app({**scope, **here}, receive, send)


def fuzz(app: Any) -> int:
    """Asks every route and checks the answers; tells how often it asked."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", Local(app))
    asked = 0

    def ask(case: schemathesis.Case) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(checks=[does_not_fail, *CHECKS])

    ask_everything(schema, ask, EXAMPLES, again=True)
    return asked
