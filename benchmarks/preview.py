"""The preview: how soon the first picture is there, how old pictures are, what viewers cost.

    python -m benchmarks.preview [--only page,play,cost,rates,churn,load]

A camera over RTSP (car park, 1080p25) shows pictures whose number is written into them as black and white squares; a
real headless Chromium plays them by WHEP and reads the numbers from what it shows. So `delay_ms` is from the moment in
which the camera sends a picture to the one in which the page may show it. `first_frame_s` is of the service's own page:
from when it is opened to the first frame with what was seen in it. Viewers of which only Vigil's cost matters are
aiortc's. CPU is that of Vigil's own processes, in cores, beyond what they take without viewers. Then `churn` viewers
come and go. What viewers of all streams cost a machine that is fully used is measured by `preview_load.py`.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from statistics import median
from typing import Annotated, Any

import httpx
import nats
import psutil
import typer
from rich.console import Console

from benchmarks import preview_load
from benchmarks.clips import OUT, data_folder, rated
from benchmarks.harness import Service, cores, save
from benchmarks.preview_browser import open_page, play
from benchmarks.preview_cameras import Cameras, numbered
from benchmarks.preview_viewers import Audience

PARTS = ("page", "play", "cost", "rates", "churn", "load")
OF_THE_CAR_PARK = {"play", "cost", "churn"}
MODES = ("client", "burned")
RATES_MBIT_S = (1, 4, 8)
OPENINGS = 5
SETTLE_S = 2.0
MASKED_S = 15.0
DETECTOR = {"model": "starter", "image_size": 320}
# A mask that nothing is behind: with it the page cannot be given the camera's packets, and gets burned-in boxes.
MASKED = {"privacy_masks": {"corner": {"polygon": [[0.98, 0.98], [1, 0.98], [1, 1], [0.98, 1]]}}}


class Costs:
    """CPU seconds of Vigil's processes."""

    def __init__(self, service: Service) -> None:
        assert service._process is not None
        self._service = service
        self._root = psutil.Process(service._process.pid)

    def process(self, role: str) -> psutil.Process:
        return next(one for one in self._root.children(True) if f"vigil {role}" in " ".join(one.cmdline()))

    def cpu_s(self) -> float:
        several = [self._root, *self._root.children(True)]
        return sum(times.user + times.system for times in (one.cpu_times() for one in several))

    def _preview_s(self) -> float:
        times = self.process("preview").cpu_times()
        return times.user + times.system

    def cores(self, seconds: float) -> float:
        began, at = self.cpu_s(), time.monotonic()
        time.sleep(seconds)
        return (self.cpu_s() - began) / (time.monotonic() - at)

    def of_viewers(self, viewers: int, seconds: float, without: float) -> dict[str, float]:
        """Of all processes beyond what they take without viewers, and of the preview process alone; what was sent,
        and how many packets a second once more: viewers that lose packets have no time, and cost more for it.

        Where the machine is busy with other things, the first says little: analysis then takes what is left.
        """
        began, at = self._preview_s(), time.monotonic()
        sent, resent = self._counted("bytes"), self._counted("packets_resent")
        beyond = self.cores(seconds) - without
        passed = time.monotonic() - at
        name = f"{viewers}_viewer{'s' * (viewers > 1)}"
        return {
            f"cpu_{name}": round(beyond, 3),
            f"preview_cpu_{name}": round((self._preview_s() - began) / passed, 4),
            f"mbit_s_{name}": round((self._counted("bytes") - sent) * 8e-6 / passed, 2),
            f"resent_s_{name}": round((self._counted("packets_resent") - resent) / passed, 1),
        }

    def _counted(self, what: str) -> float:
        lines = self._service.get("/metrics").splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith(f"vigil_preview_{what}_total"))

    def held(self) -> dict[str, int]:
        preview = self.process("preview")
        return {
            "fds": preview.num_fds(), "threads": preview.num_threads(),
            "memory_bytes": preview.memory_full_info().uss,
        }  # fmt: skip


def main(
    seconds: Annotated[float, typer.Option(help="How long each number of viewers is measured.")] = 6.0,
    churn: Annotated[int, typer.Option(help="Viewers that come and go.")] = 200,
    only: Annotated[str, typer.Option(help=f"Which parts, of {', '.join(PARTS)}; the others' last figures stay.")] = "",
) -> None:
    chosen = set(only.split(",")) if only else set(PARTS)
    if unknown := chosen - set(PARTS):
        raise typer.BadParameter(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    result = {"cores": cores(), "clip": "car park, 1080p25"} | (_last() if only else {})
    of_mode: dict[str, dict[str, Any]] = {mode: result.setdefault(mode, {}) for mode in MODES}
    if "page" in chosen:
        for mode, found in _opened().items():
            of_mode[mode] |= found
            Console().print({mode: found})
    if chosen & OF_THE_CAR_PARK:
        _of_the_car_park(chosen, result, of_mode, seconds, churn)
    if "rates" in chosen:
        result["client_at_mbit_s"] = _at_rates(seconds)
        Console().print(result["client_at_mbit_s"])
    if "load" in chosen:
        result["load"] = preview_load.measure(seconds)
        Console(width=160).print(preview_load.table(result["load"]))
    Console().print(f"written to {save('preview', result)}")


def _last() -> dict[str, Any]:
    file = OUT / "preview.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return found


def _opened() -> dict[str, dict[str, Any]]:
    """The service's page, opened by mode, before a camera that always has people to draw boxes around."""
    with Cameras({"crowd": rated("crowd", 4)}) as cameras:
        detector = {"model": str(data_folder() / "weights" / "yolov8n.pt"), "image_size": 320}
        streams = {"crowd": {"url": cameras.urls["crowd"], "fps": 10}}
        # Without lingering, each who opens the page has the view made anew; the first one the preview process, too.
        with Service({"detector": detector, "preview": {"linger": 0}, "streams": streams}) as service:
            service.wait_for_frames(20)
            client = asyncio.run(open_page(service.http, "client", OPENINGS))
            _mask(f"{service.http}/api/v1/streams/crowd")
            return {"client": client, "burned": asyncio.run(open_page(service.http, "burned", OPENINGS))}


def _of_the_car_park(
    chosen: set[str], result: dict[str, Any], of_mode: dict[str, dict[str, Any]], seconds: float, churn: int
) -> None:
    with Cameras({"gate": numbered()}) as cameras:
        streams = {"gate": {"url": cameras.urls["gate"], "fps": 10}}
        with Service({"detector": DETECTOR, "streams": streams}) as service, Audience(service.http) as audience:
            service.wait_for_frames(20)
            cameras.follow()
            costs = Costs(service)
            if "cost" in chosen:
                result["cpu_without"] = round(costs.cores(seconds), 3)
                result["results_behind_ms"] = round(asyncio.run(_behind_ms(service.nats, 3.0)))
            for mode, found in of_mode.items():
                if "play" in chosen:
                    found |= asyncio.run(play(service.http, cameras, "gate", mode, seconds))
                for viewers in (1, 10) if "cost" in chosen else ():
                    with audience.watching(mode, ["gate"] * viewers):
                        time.sleep(SETTLE_S)
                        found |= costs.of_viewers(viewers, seconds, result["cpu_without"])
            if "churn" in chosen:
                result["churn"] = _come_and_go(audience, costs, churn)
    Console().print({key: value for key, value in result.items() if key not in ("client_at_mbit_s", "load")})


def _at_rates(seconds: float) -> dict[str, Any]:
    """What the preview process takes to pass on a camera's own packets, by how many megabits a second it sends."""
    names = {f"gate-{rate}": rate for rate in RATES_MBIT_S}
    with Cameras({name: rated("carpark", rate) for name, rate in names.items()}) as cameras:
        streams = {name: {"url": cameras.urls[name], "fps": 10} for name in names}  # viewers are told of each result
        with Service({"detector": DETECTOR, "streams": streams}) as service, Audience(service.http) as audience:
            service.wait_for_frames(3)
            costs = Costs(service)
            found: dict[str, Any] = {}
            for name, rate in names.items():
                with audience.watching("client", [name] * 10):
                    time.sleep(SETTLE_S)
                    measured = costs.of_viewers(10, seconds, 0.0)
                del measured["cpu_10_viewers"]  # the cameras' other shares differ
                found[str(rate)] = measured
    return found


def _mask(stream: str) -> None:
    """Puts the mask over the stream, and returns when it is live with it."""
    httpx.patch(stream, json=MASKED).raise_for_status()
    ends = time.monotonic() + MASKED_S
    while True:
        told = httpx.get(stream).raise_for_status().json()
        if told["state"] == "live" and told["settings"].get("privacy_masks"):
            return
        if time.monotonic() > ends:
            raise SystemExit(f"the stream is not live with a privacy mask after {MASKED_S:g} s: {told}")
        time.sleep(0.1)


async def _behind_ms(url: str, seconds: float) -> float:
    """How old pictures are when what was seen in them is told: burned-in boxes cannot be there sooner."""
    ages: list[float] = []

    async def hear(message: Any) -> None:
        captured = datetime.fromisoformat(json.loads(message.data)["captured_at"])
        ages.append((datetime.now(UTC) - captured).total_seconds() * 1e3)

    client = await nats.connect(url)
    await client.subscribe("vigil.bench.frames.gate", cb=hear)
    await asyncio.sleep(seconds)
    await client.close()
    return median(ages)


def _come_and_go(audience: Audience, costs: Costs, count: int) -> dict[str, Any]:
    def some(visits: int) -> None:
        audience.come_and_go("gate", visits)
        time.sleep(12)  # who left without a word is noticed; rubbish is collected

    some(max(count // 10, 1))
    before = costs.held()
    some(count)
    return {"viewers": count, "before": before, "after": costs.held()}


if __name__ == "__main__":
    typer.run(main)
