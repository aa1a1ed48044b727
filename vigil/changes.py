"""Changing what is served: from the config file when it is edited, and from outside by API. One change at a time.

A change is tried whole before it is made: what does not hold is refused, and the old configuration goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import structlog

from inference.errors import ModelError
from ingest.errors import VigilError
from ingest.redact import is_redacted, redact
from publish.admin import FieldProblem, RefusedError
from vigil.config import StreamConfig, VigilConfig
from vigil.document import ConfigError
from vigil.exposed import exposed, redacted_places, references
from vigil.load import read
from vigil.settings import Settings, changes_file, patched

log = structlog.get_logger()

POLL_S = 1.0
NEW_REFERENCE = "is not in the file: who may write to the API may not read this machine's files and environment"
ON_THE_MACHINE = "write it into the file, on the machine itself"
# The name of settings that are only tried.
TRIED = "tried"


class Served(Protocol):
    """The running service, as far as changes go."""

    config: VigilConfig

    def stream_list(self) -> list[dict[str, Any]]:
        """Every stream's state."""
        ...

    def fixed(self, config: VigilConfig) -> list[str]:
        """Its settings that differ from those in force, and cannot change while the service runs."""
        ...

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
        settings = config.streams[name].model_dump(mode="json", exclude_unset=True, by_alias=True)
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

    async def pause(self, stream: str, paused: bool, keep: bool) -> None:
        if stream not in self._service.config.streams:
            raise self._unknown(stream)
        await self._follow(stream, lambda settings: settings.with_pause(stream, paused, keep), keep)

    def tried(self, given: Mapping[str, Any], stream: str | None) -> StreamConfig:
        """What a stream would be with these settings, over its own if one is named; nothing changes.

        Raises:
            RefusedError
        """
        if stream is not None and stream not in self._service.config.streams:
            raise self._unknown(stream)
        name = stream or TRIED
        _check(name, given)
        settings = self._settings or Settings(Path("config"), "streams: {}")
        made = patched(settings.written(name), given) if stream is not None else dict(given)
        try:
            return settings.with_stream(name, made, keep=False).config().streams[name]
        except ConfigError as error:
            raise _refusal(error, name) from None

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

    # -- the config file, asked from outside

    def config_text(self) -> str | None:
        if self._settings is None:
            return None
        try:
            return read(self._settings.file)
        except ConfigError:
            return None

    def exposed(self, text: str) -> str | None:
        return exposed(text)

    async def check_config(self, text: str) -> tuple[str, list[str]]:
        _, config = await asyncio.to_thread(self._rewritten, text)
        return config.revision, self._service.fixed(config)

    async def replace_config(self, text: str, known: str) -> None:
        async with self._busy:
            if self.config_text() != known:
                raise RefusedError("config.edited", "the file has been edited meanwhile; get it again")
            before = self._settings
            assert before is not None, "it has a text"
            changed, config = await asyncio.to_thread(self._rewritten, text)
            try:
                await self._service.apply(config)
            except ModelError as error:
                raise RefusedError(error.code, str(error)) from None
            except ConfigError as error:
                raise _refusal(error) from None
            try:
                changed.write()
            except OSError as error:
                raise await self._taken_back(before, before.file, error) from None
            self._settings, self._refused = changed, None
            log.info("config written", file=str(before.file), revision=self._service.config.revision)

    def _rewritten(self, text: str) -> tuple[Settings, VigilConfig]:
        """The settings with this text in place of the file's, and what they come to. For a thread: texts may be long.

        Raises:
            RefusedError
        """
        if self._settings is None:
            raise RefusedError("streams.fixed", "the service runs without a config file")
        strange = sorted(references(text) - references(self._settings.text))
        refused = [
            FieldProblem("config.new_reference", "", one, NEW_REFERENCE, ON_THE_MACHINE)
            for one in strange
        ] + [
            FieldProblem("config.redacted_value", place, None, "has *** where a secret was", "give the secret")
            for place in redacted_places(text)
        ]  # fmt: skip
        if refused:
            raise RefusedError(
                "config.invalid", "; ".join(f"{p.path or p.value}: {p.message}" for p in refused), refused
            )
        changed = replace(self._settings, text=text)
        try:
            return changed, changed.config()
        except ConfigError as error:
            raise _refusal(error) from None

    def _unknown(self, stream: str) -> RefusedError:
        known = ", ".join(self._service.config.streams) or "there are none"
        return RefusedError("streams.unknown", f"there is no stream {stream!r}; known: {known}")

    async def _make(self, stream: str, given: Mapping[str, Any], made: dict[str, Any] | None, keep: bool) -> None:
        """Makes the stream what `made` says, of which `given` came from outside."""
        _check(stream, given)
        await self._follow(stream, lambda settings: settings.with_stream(stream, made, keep), keep)

    async def _follow(self, stream: str, change: Callable[[Settings], Settings], keep: bool) -> None:
        """Applies changed settings, whole or not at all."""
        async with self._busy:
            before = self._settings
            if before is None:
                raise RefusedError("streams.fixed", "without a config file the streams cannot be changed")
            changed = change(before)
            try:
                await self._service.apply(changed.config())
            except ConfigError as error:
                raise _refusal(error, stream) from None
            except ModelError as error:
                raise RefusedError(error.code, str(error)) from None
            if keep:
                try:
                    changed.save()
                except OSError as error:
                    raise await self._taken_back(before, changes_file(before.file), error) from None
            self._settings = changed

    async def _taken_back(self, before: Settings, file: Path, error: OSError) -> RefusedError:
        """Serves what was served before, as the change cannot be kept; gives what to say of it."""
        await self._service.apply(before.config())
        words = f"{file} cannot be written: {error.strerror or error}; nothing is changed"
        return RefusedError("config.unwritable", words)

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


def _refusal(error: ConfigError, stream: str | None = None) -> RefusedError:
    """What a config is refused with, by problems of one stream where there are any."""
    ours = [problem for problem in error.problems if stream and problem.path.startswith(f"streams.{stream}")]
    told = [FieldProblem(p.code, p.path, p.value, p.message, p.mend, p.line) for p in ours or error.problems]
    return RefusedError("config.invalid", "; ".join(f"{p.path}: {p.message}" for p in told), told)


def _check(stream: str, given: Mapping[str, Any]) -> None:
    """Refuses what must not come from outside: variables, and what we have shown with its credentials taken out."""
    problems = [
        FieldProblem("config.variable", f"streams.{stream}.{path}", None,
                     "holds a variable, which is filled in from the config file only", "give the value")
        if "${" in text else
        FieldProblem("config.redacted_value", f"streams.{stream}.{path}", None,
                     "has *** where a secret was", "give the secret, or leave the setting out")
        for path, text in _texts(given) if "${" in text or is_redacted(text)
    ]  # fmt: skip
    if problems:
        raise RefusedError("config.invalid", "; ".join(f"{p.path}: {p.message}" for p in problems), problems)


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
