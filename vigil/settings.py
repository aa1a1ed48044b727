"""The config file, and what was made of its streams while the service ran.

A stream that was added or changed is held whole, over the config's own of that name; one that was removed is null. Of
one that was only paused that alone is held: it follows the config in all else.
Those that are to last are in a file beside the config.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from vigil.config import VigilConfig
from vigil.document import ConfigError, Problem
from vigil.load import parse, read

HEADER = "# Written by Vigil: streams added, changed and removed (null) while it ran, in place of the config's.\n"

Streams = Mapping[str, dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Settings:
    """`text` is the config's; `kept` and `passing` are streams in place of its own, that outlast the service or not."""

    file: Path
    text: str
    kept: Streams = field(default_factory=dict)
    passing: Streams = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Settings:
        """The config and what is kept beside it.

        Raises:
            ConfigError: one of them cannot be read.
        """
        beside = changes_file(file)
        kept: Any = {}
        if beside.exists():
            try:
                kept = yaml.safe_load(read(beside)) or {}
            except yaml.YAMLError as error:
                raise ConfigError(str(beside), [_problem("config.syntax", f"not valid YAML: {error}")]) from None
            if not isinstance(kept, dict) or not all(isinstance(one, dict | None) for one in kept.values()):
                raise ConfigError(str(beside), [_problem("config.value", "must hold streams by id")])
        return cls(file, read(file), kept)

    def reread(self) -> Settings:
        """As `read`, with the changes that do not outlast the service."""
        return replace(Settings.read(self.file), passing=self.passing)

    def config(self) -> VigilConfig:
        """Raises ConfigError with every problem found."""
        return parse(self.text, str(self.file), self.file.resolve().parent, self._made())

    def _made(self) -> dict[str, dict[str, Any] | None]:
        """The streams in place of the config's own."""
        own = self._own() if any(map(_is_pause, [*self.kept.values(), *self.passing.values()])) else {}
        made: dict[str, dict[str, Any] | None] = {}
        for name, settings in [*self.kept.items(), *self.passing.items()]:
            below = made[name] if name in made else own.get(name)
            if not _is_pause(settings):
                made[name] = settings
            elif isinstance(below, dict):  # else it is gone, whatever it was
                made[name] = {**below, **(settings or {})}
        return made

    def written(self, stream: str) -> dict[str, Any]:
        """A stream's settings as they are written, variables and all; none for one that there is not."""
        return dict({**self._own(), **self._made()}.get(stream) or {})

    def overridden(self) -> list[str]:
        """The config's streams that another has taken the place of."""
        whole = [name for name, one in [*self.kept.items(), *self.passing.items()] if not _is_pause(one)]
        return [name for name in self._own() if name in whole]

    def _own(self) -> dict[str, Any]:
        config = yaml.safe_load(self.text)
        streams = config.get("streams") if isinstance(config, dict) else None
        return streams if isinstance(streams, dict) else {}

    def with_stream(self, name: str, settings: dict[str, Any] | None, keep: bool) -> Settings:
        """These settings with another stream of that name, or with None without it."""
        if keep:
            passing = {key: value for key, value in self.passing.items() if key != name}
            return replace(self, kept={**self.kept, name: settings}, passing=passing)
        return replace(self, passing={**self.passing, name: settings})

    def with_pause(self, name: str, paused: bool, keep: bool) -> Settings:
        """These settings with the stream paused, or not."""
        without = replace(
            self, passing=_unpaused(self.passing, name), kept=_unpaused(self.kept, name) if keep else self.kept
        )
        if bool(without.written(name).get("paused")) is paused:
            return without

        def said(streams: Streams) -> Streams:
            return {**streams, name: {**(streams.get(name) or {}), "paused": paused}}

        passing = said(without.passing) if not keep or name in without.passing else without.passing
        return replace(without, passing=passing, kept=said(without.kept) if keep else without.kept)

    def write(self) -> None:
        """Puts the text in the file's place, whole or not at all, with the file's permissions.

        Raises:
            OSError
        """
        file = self.file.resolve()
        part = file.with_name(f".{file.name}.part")
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as target:
                target.write(self.text)
                target.flush()
                os.fchmod(target.fileno(), stat.S_IMODE(file.stat().st_mode))
                os.fsync(target.fileno())
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)

    def save(self) -> None:
        """Writes what is kept; it may hold passwords, so only its owner can read it."""
        path = changes_file(self.file)
        if not self.kept:
            path.unlink(missing_ok=True)
            return
        part = path.with_name(path.name + ".part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as target:
            target.write(HEADER + yaml.safe_dump(dict(self.kept), sort_keys=True, allow_unicode=True))
            target.flush()
            os.fsync(target.fileno())
        part.replace(path)


def _is_pause(settings: Mapping[str, Any] | None) -> bool:
    return settings is not None and set(settings) == {"paused"}


def _unpaused(streams: Streams, name: str) -> Streams:
    """Without a word on whether this one is paused."""
    settings = streams.get(name)
    if settings is None or "paused" not in settings:
        return streams
    rest = {key: value for key, value in settings.items() if key != "paused"}
    return {key: value for key, value in {**streams, name: rest}.items() if key != name or rest}


def changes_file(config: Path) -> Path:
    """`vigil.yaml` has `vigil.streams.yaml` beside it."""
    return config.with_name(f"{config.stem}.streams.yaml")


def patched(target: Any, patch: Any) -> Any:
    """The target after a JSON merge patch, as RFC 7396 has it: null takes away."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = patched(result.get(key), value)
    return result


def _problem(code: str, message: str) -> Problem:
    return Problem(code, "", None, None, message)
