"""MPEG-TS over SRT, through libsrt: PyAV's FFmpeg is built without it."""

from __future__ import annotations

import time
from typing import Any

from ingest.addresses import SrtAddress
from ingest.config import SourceConfig
from ingest.sources.container import Container
from ingest.sources.libsrt import SrtReceiver


class SrtSource(Container):
    """A sender that we call, or that calls us."""

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._receiver = SrtReceiver(SrtAddress.parse(config.url), config.connect_timeout, config.read_timeout)
        self.format = "mpegts"
        # Probing does not read ahead of what is needed to know the video; it ends in time with a slow sender, too.
        self.options = {"fpsprobesize": "0", "analyzeduration": str(int(config.connect_timeout * 1_000_000))}

    @property
    def _address(self) -> Any:
        return self._receiver

    def _open(self) -> None:
        self._receiver.close()
        self.calls.enter(self._config.connect_timeout)  # asking the name service has no time-out of ours
        try:
            self._receiver.__enter__()
        finally:
            self.calls.leave()
        self._receiver.deadline = time.monotonic() + 2 * self._config.connect_timeout
        try:
            super()._open()
        except BaseException:
            self._receiver.close()
            raise
        self._receiver.deadline = None

    def _close(self) -> None:
        super()._close()
        self._receiver.close()
