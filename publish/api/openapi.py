"""What the API says of itself: every answer that a route may give, and what it takes to ask."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from publish.access.routes import Access, access_of
from publish.problem import Problem, problems

DESCRIPTION = """
What Vigil sees, how it is doing, and changing what it does.

Send `Authorization: Bearer <token>` with `http.token`, or with `http.read_token` for what changes nothing; browsers log
in at `/api/v1/session` instead. Without a token in the configuration, programs on the same machine need none, and
nobody else is answered. Whatever goes wrong is told as problem details (RFC 9457) with a `code` that is stable.
"""
TAGS = {
    "Streams": "The cameras: what is served, adding, changing, trying and removing them.",
    "Pictures": "What cameras show now, and pictures and clips of events.",
    "Events": "What has happened, and what happens.",
    "System": "How the service is doing.",
    "Configuration": "The configuration file.",
    "Login": "Browsers, which can send no token with pictures and events.",
    "Health": "For whoever restarts and balances; open to everybody.",
    "WHEP": "Live video to players by WebRTC.",
    "WHIP": "Live video from publishers by WebRTC.",
}
WORDS = {
    Access.OPEN: "Open to everybody.",
    Access.READ: "Takes `http.read_token` or `http.token`.",
    Access.WRITE: "Takes `http.token`.",
    Access.OWN: "Takes the stream's own token, or `http.token`.",
}


def describe(app: FastAPI) -> None:
    """Has `app.openapi()` tell all of it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _whole(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _whole(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION.strip(), routes=app.routes,
        tags=[{"name": name, "description": words} for name, words in TAGS.items()],
    )  # fmt: skip
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": "vigil_session"},
    }
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _complete(operation, access_of(method.upper(), path), "{" in path)
    return schema


def _complete(operation: dict[str, Any], access: Access, names_something: bool) -> None:
    """Adds what every route of its kind may answer as well."""
    told = operation["responses"]
    told.pop("422", None)  # FastAPI's own words
    anywhere = [403, 429, 500]
    if access is not Access.OPEN:
        anywhere.append(401)
    if "requestBody" in operation:
        anywhere += [400, 413]
    if "requestBody" in operation or "parameters" in operation:
        anywhere.append(422)
    if names_something:
        anywhere.append(404)
    for status, answer in problems(*anywhere).items():
        told.setdefault(str(status), answer)
    operation["responses"] = dict(sorted(told.items()))
    words = operation.get("description", "")
    operation["description"] = f"{words}\n\n{WORDS[access]}".strip()
    operation["security"] = [] if access is Access.OPEN else [{"token": []}, {"session": []}]
