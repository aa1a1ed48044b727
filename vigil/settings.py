"""The config file, and the changes made to its streams while the service runs.

Changes are a JSON merge patch (RFC 7396) over `streams`: a stream that was added is there whole, one that was changed
holds what is different, one that was removed is null. Those that are to last are in a file beside the config.
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

HEADER = "# Streams added, changed and removed while Vigil ran; over those of the config. Vigil writes this file.\n"

Patch = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """`text` is the config's; `kept` and `passing` are changes that outlast the service and those that do not."""

    file: Path
    text: str
    kept: Patch = field(default_factory=dict)
    passing: Patch = field(default_factory=dict)

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
        return parse(self.text, str(self.file), self.file.resolve().parent, merged(self.kept, self.passing))

    def with_stream(self, name: str, change: Patch | None, keep: bool) -> Settings:
        """These settings after a change to a stream; None removes it."""
        if keep:
            return replace(self, kept=merged(self.kept, {name: change}), passing=_without(self.passing, name))
        return replace(self, passing=merged(self.passing, {name: change}))

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


def merged(patch: Patch, over: Patch) -> dict[str, Any]:
    """One merge patch that does what the two do, one after the other."""
    result = dict(patch)
    for key, value in over.items():
        before = result.get(key)
        result[key] = merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return result


def _without(patch: Patch, name: str) -> dict[str, Any]:
    return {key: value for key, value in patch.items() if key != name}


def _problem(code: str, message: str) -> Problem:
    return Problem(code, "", None, None, message)
