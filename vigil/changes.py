"""Changing what is served: from the config file when it is edited, and from outside by API. One change at a time.

A change is tried whole before it is made: what does not hold is refused, and the old configuration goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import structlog

from inference.errors import ModelError
from ingest.errors import VigilError
from ingest.redact import redact
from publish.admin import FieldProblem, RefusedError
from vigil.config import VigilConfig
from vigil.document import ConfigError
from vigil.settings import Settings, changes_file, patched

log = structlog.get_logger()

POLL_S = 1.0


class Served(Protocol):
    """The running service, as far as changes go."""

    config: VigilConfig

    def stream_list(self) -> list[dict[str, Any]]: ...

    async def apply(self, config: VigilConfig) -> None: ...


class Changes:
    """The `publish.admin.StreamAdmin` of a service. Runs in the supervisor's loop."""

    def __init__(self, service: Served, settings: Settings | None) -> None:
        """Without `settings`, as the service runs without a config file, nothing can be changed."""
        self._service = service
        self._settings = settings
        self._busy = asyncio.Lock()
        self._refused: ConfigError | ModelError | None = None

    # -- asked from outside

    def streams(self) -> list[dict[str, Any]]:
        return self._service.stream_list()

    def stream(self, name: str) -> dict[str, Any]:
        config = self._service.config
        found = next((one for one in self.streams() if one["id"] == name), None)
        if found is None or name not in config.streams:
            raise self._unknown(name)
        settings = config.streams[name].model_dump(mode="json", exclude_unset=True)
        return {**found, "config_rev": config.revision_of(name), "settings": _redacted(settings)}

    async def add(self, stream: str, settings: Mapping[str, Any], keep: bool) -> None:
        if stream in self._service.config.streams:
            raise RefusedError("streams.exists", f"there is a stream {stream!r} already: change it, or remove it first")
        await self._make(stream, dict(settings), dict(settings), keep)

    async def change(self, stream: str, changes: Mapping[str, Any], keep: bool) -> None:
        if stream not in self._service.config.streams:
            raise self._unknown(stream)
        written = self._settings.written(stream) if self._settings else {}
        await self._make(stream, changes, patched(written, changes), keep)

    async def remove(self, stream: str, keep: bool) -> None:
        if stream not in self._service.config.streams:
            raise self._unknown(stream)
        await self._make(stream, {}, None, keep)

    def config_state(self) -> dict[str, Any]:
        config = self._service.config
        problems = [] if self._refused is None else _problems(self._refused)
        return {
            "revision": config.revision,
            "site": config.site,
            "file": str(self._settings.file) if self._settings else None,
            "valid": self._refused is None,
            "problems": problems,
            "overridden": self._settings.overridden() if self._settings else [],
        }

    def _unknown(self, stream: str) -> RefusedError:
        known = ", ".join(self._service.config.streams) or "there are none"
        return RefusedError("streams.unknown", f"there is no stream {stream!r}; known: {known}")

    async def _make(self, stream: str, given: Mapping[str, Any], settings: dict[str, Any] | None, keep: bool) -> None:
        """Makes the stream what `settings` says, of which `given` came from outside."""
        if self._settings is None:
            raise RefusedError("streams.fixed", "without a config file the streams cannot be changed")
        if variables := [path for path, text in _texts(given) if "${" in text]:
            raise RefusedError("config.invalid", "variables are filled in from the config file only", [
                FieldProblem("config.variable", f"streams.{stream}.{path}", None, "holds a variable", "give the value")
                for path in variables
            ])  # fmt: skip
        async with self._busy:
            changed = self._settings.with_stream(stream, settings, keep)
            try:
                await self._service.apply(changed.config())
            except ConfigError as error:
                ours = [problem for problem in error.problems if problem.path.startswith(f"streams.{stream}")]
                told = [FieldProblem(p.code, p.path, p.value, p.message, p.mend) for p in ours or error.problems]
                raise RefusedError("config.invalid", "; ".join(f"{p.path}: {p.message}" for p in told), told) from None
            except ModelError as error:
                raise RefusedError(error.code, str(error)) from None
            self._settings = changed
            if keep:
                changed.save()

    # -- the config file

    async def follow(self) -> None:
        """Applies edits of the config as they are made; runs until cancelled.

        A file that is being written is let alone: it is read once it has been the same at two looks. Looking is by
        time and not by notice, as volumes mounted over a network and into containers give none.
        """
        if self._settings is None:
            return
        files = [self._settings.file, changes_file(self._settings.file)]
        applied = before = _stamps(files)
        while True:
            await asyncio.sleep(POLL_S)
            now = _stamps(files)
            if now == before and now != applied:
                applied = now
                await self.reload()
                applied = _stamps(files) if self._refused is None else now
            before = now

    async def reload(self) -> None:
        """Reads the config again and applies it; one that does not hold is told of, and the old one goes on."""
        if self._settings is None:
            return
        async with self._busy:
            try:
                settings = self._settings.reread()
                config = settings.config()
                if config != self._service.config:
                    await self._service.apply(config)
            except (ConfigError, ModelError) as error:
                self._refused = error
                log.error("config refused; the old one goes on", error=redact(str(error)), code=error.code)
                return
            self._settings, self._refused = settings, None
            if overridden := settings.overridden():
                log.warning(
                    "streams of the config are overridden", streams=overridden, by=str(changes_file(settings.file))
                )


def _stamps(files: list[Path]) -> list[tuple[int, int, int] | None]:
    """What tells one state of a file from another; None where there is no file."""
    return [_stamp(file) for file in files]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _problems(error: VigilError) -> list[dict[str, Any]]:
    if isinstance(error, ConfigError):
        return [{"code": p.code, "path": p.path, "line": p.line, "message": p.message} for p in error.problems]
    return [{"code": error.code, "path": "detector", "line": None, "message": redact(str(error))}]


def _texts(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Every string in a value, with where it is."""
    if isinstance(value, str):
        return [(path, value)]
    if isinstance(value, Mapping):
        return [found for key, one in value.items() for found in _texts(one, f"{path}.{key}" if path else str(key))]
    if isinstance(value, list):
        return [found for index, one in enumerate(value) for found in _texts(one, f"{path}.{index}")]
    return []


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _redacted(one) for key, one in value.items()}
    return [_redacted(one) for one in value] if isinstance(value, list) else value
