"""A folder of pictures, in the order of their names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.error

from ingest.activity import Calls
from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.sources.packets import PacketCounts

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
# Pictures a second where `fps` does not say.
DEFAULT_FPS = 1.0
DECODE_WITHIN_S = 10.0


class FolderSource:
    """Shown at `fps`, one after the other; those that are there when it is opened. One that is broken is left out."""

    def __init__(self, config: SourceConfig) -> None:
        self._config = config
        self._files: list[Path] = []
        self.frame_rate: float | None = config.fps or DEFAULT_FPS
        self.decode_s = 0.0
        self.decoder = "cpu"
        self.fallback: str | None = None
        self.packets = PacketCounts()
        self.calls = Calls()
        self.description = ""

    def __enter__(self) -> FolderSource:
        folder = self._config.file_path
        try:
            self._files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
        except PermissionError as error:
            raise SourceError(Reason.AUTH, f"{folder}: {error.strerror}") from None
        except OSError as error:
            raise SourceError(Reason.NOT_FOUND, f"{folder}: {error.strerror}") from None
        if not self._files:
            raise SourceError(Reason.NO_VIDEO, f"no picture in {folder}; pictures end in {', '.join(ENDINGS)}")
        self.description = f"{len(self._files)} pictures {self.frame_rate:g} fps"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @property
    def frame_count(self) -> int:
        """How many pictures one round has, broken ones with them."""
        return len(self._files)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Timestamps start again with each round."""
        assert self.frame_rate is not None
        time_base = 1 / Fraction(self.frame_rate).limit_denominator(1000)
        while True:
            empty = True
            for number, path in enumerate(self._files):
                if (picture := self._read(path)) is not None:
                    empty = False
                    picture.pts, picture.time_base = number, time_base
                    yield picture
            if empty:
                raise SourceError(Reason.CORRUPT, f"not one picture in {self._config.file_path} can be read")
            if not self._config.loop:
                return

    def _read(self, path: Path) -> av.VideoFrame | None:
        began = time.perf_counter()
        self.calls.enter(DECODE_WITHIN_S)
        try:
            with av.open(str(path)) as file:
                picture = next(file.decode(video=0), None)
        except (av.error.FFmpegError, OSError, ValueError, IndexError):
            picture = None
        finally:
            self.calls.leave()
        self.decode_s = time.perf_counter() - began
        if picture is None:
            self.packets.broke()
        return picture
