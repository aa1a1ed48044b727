"""The config file, and what was made of its streams while the service ran.

A stream that was added or changed is held whole, over the config's own of that name; one that was removed is null.
Those that are to last are in a file beside the config.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from vigil.config import VigilConfig, parse, read
from vigil.document import ConfigError, Problem

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
        return parse(self.text, str(self.file), self.file.resolve().parent, {**self.kept, **self.passing})

    def written(self, stream: str) -> dict[str, Any]:
        """A stream's settings as they are written, variables and all; none for one that there is not."""
        for streams in (self.passing, self.kept, self._own()):
            if stream in streams:
                return dict(streams[stream] or {})
        return {}

    def overridden(self) -> list[str]:
        """The config's streams that another has taken the place of."""
        return [name for name in self._own() if name in self.kept or name in self.passing]

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
