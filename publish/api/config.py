"""`/api/v1/config`: the configuration as it is in force and in its file; checking another one, and putting it there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from publish.admin import FieldProblem, RefusedError
from publish.problem import problem, problems

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain")
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/yaml": {"schema": {"type": "string"}}},
    }
}


class ConfigState(BaseModel):
    revision: str = Field(description="Of the configuration in force; events name it.")
    site: str
    file: str | None = Field(description="null: the service runs without one.")
    valid: bool = Field(description="Whether the file as it is now is in force.")
    problems: list[dict[str, Any]] = Field(description="What is wrong with a newer file that is not.")
    overridden: list[str] = Field(description="Streams of the file in place of which a change by API is in force.")
    text: str | None = Field(description="The file, with credentials taken out; null: there is none, or it is no YAML.")


class Checked(BaseModel):
    ok: bool
    revision: str | None = Field(description="What it would be called in force.")
    needs_restart: list[str] = Field(description="Settings in it that cannot change while the service runs.")
    problems: list[dict[str, Any]]


class Configured(Protocol):
    """What can be done with the config file. Methods raise `RefusedError`."""

    def config_state(self) -> dict[str, Any]:
        """Which configuration is in force, and what is wrong with a newer one that is not."""
        ...

    def config_text(self) -> str | None:
        """The file as it is now; None: there is none, or it cannot be read."""
        ...

    def exposed(self, text: str) -> str | None:
        """A config's text without its credentials."""
        ...

    async def check_config(self, text: str) -> tuple[str, Sequence[str]]:
        """The revision that the text would be, and which of its settings need a restart."""
        ...

    async def replace_config(self, text: str, known: str) -> None:
        """Applies the text and makes it the file's, in place of what was `known` to be there."""
        ...


def add_config_api(app: FastAPI, config: Configured) -> None:
    router = APIRouter(prefix="/api/v1", tags=["Configuration"])

    def told() -> Response:
        text = config.config_text()
        state = {**config.config_state(), "text": None if text is None else config.exposed(text)}
        return JSONResponse(state, headers={} if text is None else {"ETag": _etag(text)})

    @router.get("/config", summary="Which configuration is in force, and the file's text", response_model=ConfigState)
    async def show() -> Response:
        """The `ETag` names the text, for changing it."""
        return told()

    @router.post(
        "/config/validate", summary="Would this YAML do?", response_model=Checked, responses=problems(413, 415),
        openapi_extra=BODY,
    )  # fmt: skip
    async def validate(request: Request) -> Checked:
        """Changes nothing."""
        text = await _yaml(request)
        try:
            revision, needs_restart = await config.check_config(text)
        except RefusedError as refusal:
            return Checked(ok=False, revision=None, needs_restart=[], problems=_told(refusal))
        return Checked(ok=True, revision=revision, needs_restart=list(needs_restart), problems=[])

    @router.put(
        "/config", summary="Put this YAML in the file's place, and in force", response_model=ConfigState,
        responses=problems(409, 412, 413, 415, 428), openapi_extra=BODY,
    )  # fmt: skip
    async def replace(request: Request) -> Response:
        """Takes `If-Match` with the `ETag` of the text that was changed. All of it is done, or nothing: it must hold,
        need no restart, name no `${…}` that the file does not have already, and have secrets where `***` stood."""
        text = await _yaml(request)
        expected = request.headers.get("if-match")
        if expected is None:
            return problem(428, "config.no_etag", "send `If-Match` with the ETag of GET /api/v1/config")
        known = config.config_text()
        if known is None:
            return problem(409, "config.fixed", "the service runs without a config file, or cannot read it")
        if expected != _etag(known):
            return problem(412, "config.edited", "the file is not the one that this is a change of; get it again")
        await config.replace_config(text, known)
        return told()

    app.include_router(router)


async def _yaml(request: Request) -> str:
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given not in YAML_TYPES:
        raise HTTPException(415, "send `Content-Type: application/yaml`")
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError:
        raise RefusedError("config.invalid", "the text is not UTF-8") from None


def _told(refusal: RefusedError) -> list[dict[str, Any]]:
    return [asdict(one) for one in refusal.problems] or [
        asdict(FieldProblem(refusal.code, "", None, str(refusal), None))
    ]


def _etag(text: str) -> str:
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
