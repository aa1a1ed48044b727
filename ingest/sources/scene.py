"""The demo's scenes as cameras, so that anyone can try without one: `scene://street`."""

from __future__ import annotations

import os
from pathlib import Path

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.scene import SCENES, encoded
from ingest.sources.file import FileSource


class SceneSource(FileSource):
    """Made and encoded when first used, which takes seconds, and then played for ever."""

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._loops = True
        self._scene = Path()

    def __enter__(self) -> SceneSource:
        name = self._config.url.split("://", 1)[1].strip("/")
        scene = next((scene for scene in SCENES if scene.name == name), None)
        if scene is None:
            known = ", ".join(scene.name for scene in SCENES)
            raise SourceError(Reason.NOT_FOUND, f"there is no scene {name!r}; the scenes are {known}")
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._scene = encoded(scene, cache / "vigil" / "scenes")
        super().__enter__()
        return self

    @property
    def _address(self) -> str:
        return str(self._scene)
