"""Trying cameras' settings for the API: each in a process of its own, few at once, for a bounded time."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Awaitable, Callable

from ingest.errors import Reason
from publish.admin import RefusedError
from publish.api.probe import Probed
from vigil.asking import DeclinedError, UnansweredError
from vigil.child import Child
from vigil.config import StreamConfig

MOST_AT_ONCE = 2
# Beyond the source's own time-outs: starting the process, and a picture after the first packets.
MARGIN_S = 5.0
MOST_S = 45.0

MENDS = {
    Reason.AUTH: "correct the user and the password in the URL; percent-encode special characters",
    Reason.REFUSED: "correct the port and the transport, or turn the service on in the camera",
    Reason.UNREACHABLE: "correct the address; is the camera on, and is there a way to it from this machine?",
    Reason.NOT_FOUND: "correct the path after the address; the camera's manual or `vigil discover` has it",
    Reason.TLS: "set `tls_verify: false` if the camera signs its own certificate",
    Reason.TIMEOUT: "is the camera on, and is nothing in between that swallows its packets? A firewall does",
    Reason.NO_VIDEO: "choose another stream of the camera",
    Reason.CODEC: "set the camera to H.264 or H.265",
    Reason.UNAVAILABLE: "install what is missing on this machine",
    Reason.CORRUPT: "correct the URL: what is there is no video, or a damaged one",
}
OTHERWISE = "try again; if it stays so, see the camera's own page"


class Probes:
    """Lives in the supervisor's loop. `start` starts a process that tries."""

    def __init__(self, start: Callable[[], Awaitable[Child]]) -> None:
        self._start = start
        self._underway = 0

    async def probe(self, config: StreamConfig) -> Probed:
        """Raises RefusedError: as many are underway as may be, or no process can be started."""
        if config.scheme == "whip":
            return Probed(ok=True, seconds=0.0, description="waits for publishers once the stream is there")
        if self._underway >= MOST_AT_ONCE:
            raise RefusedError("probe.busy", f"{MOST_AT_ONCE} cameras are being tried already; again in a few seconds")
        self._underway += 1
        began = time.monotonic()
        try:
            return await self._probed(config, began)
        finally:
            self._underway -= 1

    async def _probed(self, config: StreamConfig, began: float) -> Probed:
        patience_s = min(2 * config.connect_timeout + config.read_timeout + MARGIN_S, MOST_S)
        memory = os.memfd_create("picture")
        child = None
        try:
            child = await self._start()
            settings = config.model_dump(mode="json") | {"token": None}
            told = await child.ask("try", patience_s, [memory], settings=settings)
            seconds = round(time.monotonic() - began, 2)
            if "reason" in told:
                return _failed(Reason(told["reason"]), told["detail"], seconds)
            found = told["found"]
            jpeg = os.pread(memory, found.pop("bytes"), 0)
            picture = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
            return Probed(ok=True, seconds=seconds, picture=picture, **found)
        except UnansweredError:
            gone = child is not None and child.ended.is_set()
            reason = Reason.CORRUPT if gone else Reason.TIMEOUT
            detail = "reading it ended the process that tried" if gone else f"nothing came of it in {patience_s:g} s"
            return _failed(reason, detail, round(time.monotonic() - began, 2))
        except DeclinedError as error:
            return _failed(Reason.CORRUPT, f"it could not be read: {error}", round(time.monotonic() - began, 2))
        except OSError as error:
            raise RefusedError("probe.busy", f"no process can be started: {error.strerror or error}") from None
        finally:
            os.close(memory)
            if child is not None:
                child.told_to_stop = True
                child.kill()
                await asyncio.shield(child.ended.wait())


def _failed(reason: Reason, detail: str, seconds: float) -> Probed:
    return Probed(ok=False, seconds=seconds, code=reason.value, detail=detail, mend=MENDS.get(reason, OTHERWISE))
