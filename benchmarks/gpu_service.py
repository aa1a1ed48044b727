"""The whole service on a GPU: how many cameras at 30 frames a second, at which latency, and what they cost.

`vigil run` reads N clips at their own speed; subscribers in processes of their own take each frame result from NATS.
Latency is from `captured_at`, when the frame left the decoder, to the result's arrival there.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.gpu_clips import RATE
from benchmarks.harness import ROOT, Service

P95_MS, DROPS, RATE_SHARE = 150.0, 0.01, 0.98
WARM_S = 4.0
STREAMS_PER_SUBSCRIBER = 48
SAMPLE_S = 0.25
CAPTURED = re.compile(rb'"captured_at":\s*"([^"]+)"')


def measure(
    streams: int, clips: list[Path], detector: dict[str, Any], seconds: float, gpu: int | None, per_worker: int
) -> dict[str, Any]:
    """One run with so many streams, spread over the clips."""
    config = {
        "detector": detector,
        "workers": {"streams_per_worker": per_worker},
        "streams": {f"s{n}": {"url": str(clips[n % len(clips)]), "loop": True} for n in range(streams)},
    }
    began = time.monotonic()
    with Service(config) as service:
        service_s = time.monotonic() - began
        wait_for_frames(service, streams, timeout_s=120 + streams)
        time.sleep(WARM_S)
        ready_s = time.monotonic() - began
        subscribers = subscribe(service.nats, streams, seconds)
        try:
            with GpuSampler(gpu) as sampler:
                before, cpu_before = counts(service), cpu_seconds()
                latencies = [json.loads(child.communicate(timeout=seconds + 60)[0]) for child in subscribers]
                after, cpu_after = counts(service), cpu_seconds()
        finally:
            for child in subscribers:
                child.kill()
        warnings = [line for line in service.log_text().splitlines() if "warning" in line or "error" in line]
    passed = np.array([ms for part in latencies for ms in part["latency_ms"]])
    if not len(passed):
        raise RuntimeError(f"no frame result arrived; the log says: {warnings[-5:]}")
    outcomes = Counter({name: count - before.frames[name] for name, count in after.frames.items()})
    dropped = sum(count for name, count in outcomes.items() if name.startswith("dropped"))
    fps = len(passed) / seconds
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(passed, [50, 95, 99]))
    drop_share = dropped / max(1, outcomes["decoded"])
    result = {
        "streams": streams, "streams_per_worker": per_worker,
        "fps": round(fps, 1), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99,
        "dropped_share": round(drop_share, 4), "outcomes": {k: v for k, v in outcomes.items() if v},
        "started_s": round(service_s, 1), "ready_s": round(ready_s, 1),
        "cpu_cores": round((cpu_after - cpu_before) / seconds, 2), "decoders": after.decoders,
        "stage_ms": stages(before, after), **sampler.result(len(passed)), "warnings": warnings[-5:],
    }  # fmt: skip
    result["holds"] = p95 <= P95_MS and drop_share <= DROPS and fps >= RATE_SHARE * RATE * streams
    return result


class Counts:
    """What the service's metrics say at one moment: frames by outcome, streams by decoder, stages' seconds."""

    def __init__(self, text: str) -> None:
        self.frames: Counter[str] = Counter()
        self.decoders: dict[str, int] = {}
        self.stages: dict[str, list[float]] = {}
        self.streams_seen: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels
                if sample.name == "vigil_frames_total":
                    self.frames[labels["outcome"]] += int(sample.value)
                    if labels["outcome"] == "analysed":
                        self.streams_seen[labels["stream"]] += int(sample.value)
                elif sample.name == "vigil_decoder_info" and sample.value:
                    self.decoders[labels["decoder"]] = self.decoders.get(labels["decoder"], 0) + 1
                elif sample.name == "vigil_stage_seconds_sum":
                    self.stages.setdefault(labels["stage"], [0.0, 0.0])[0] += sample.value
                elif sample.name == "vigil_stage_seconds_count":
                    self.stages.setdefault(labels["stage"], [0.0, 0.0])[1] += sample.value


def counts(service: Service) -> Counts:
    return Counts(service.get("/metrics"))


def stages(before: Counts, after: Counts) -> dict[str, float]:
    """Mean milliseconds of each stage between two moments."""
    result = {}
    for name, (seconds, count) in after.stages.items():
        earlier = before.stages.get(name, [0.0, 0.0])
        if count > earlier[1]:
            result[name] = round((seconds - earlier[0]) / (count - earlier[1]) * 1e3, 2)
    return result


def wait_for_frames(service: Service, streams: int, timeout_s: float, per_stream: int = 5) -> None:
    ends = time.monotonic() + timeout_s
    while True:
        seen = counts(service).streams_seen
        if len(seen) == streams and min(seen.values()) >= per_stream:
            return
        if time.monotonic() > ends:
            raise RuntimeError(
                f"{sum(count >= per_stream for count in seen.values())} of {streams} streams deliver after "
                f"{timeout_s:.0f} s:\n{service.log_text()[-2000:]}"
            )
        time.sleep(0.5)


def cpu_seconds() -> float:
    """Of all processes that this one started, ended ones not counted."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


class GpuSampler:
    """Samples what NVML tells of a GPU while a block runs; without NVML there is nothing to tell."""

    def __init__(self, gpu: int | None) -> None:
        self._samples: dict[str, list[float]] = {"gpu": [], "decoder": [], "memory_bytes": [], "power_w": []}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = self._elapsed = 0.0
        self._gpu = gpu

    def __enter__(self) -> GpuSampler:
        self._began = time.monotonic()
        if self._gpu is not None:
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._elapsed = time.monotonic() - self._began
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)

    def _sample(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            device = pynvml.nvmlDeviceGetHandleByIndex(self._gpu)
        except Exception as error:  # no NVML, or another GPU's number
            print(f"NVML tells nothing: {error}", file=sys.stderr)
            return
        readings = {
            "gpu": lambda: pynvml.nvmlDeviceGetUtilizationRates(device).gpu / 100,
            "decoder": lambda: pynvml.nvmlDeviceGetDecoderUtilization(device)[0] / 100,
            "memory_bytes": lambda: pynvml.nvmlDeviceGetMemoryInfo(device).used,
            "power_w": lambda: pynvml.nvmlDeviceGetPowerUsage(device) / 1000,
        }
        while not self._stop.wait(SAMPLE_S):
            for name, read in list(readings.items()):
                try:
                    self._samples[name].append(float(read()))
                except Exception:  # not on this GPU
                    readings.pop(name)

    def result(self, frames: int) -> dict[str, Any]:
        means = {name: sum(values) / len(values) for name, values in self._samples.items() if values}
        told: dict[str, Any] = {}
        if "gpu" in means:
            told["gpu_share"] = round(means["gpu"], 3)
            # The share of time in which any kernel ran, not of the GPU's units: an upper bound of what a frame needs.
            told["gpu_ms_per_frame"] = round(means["gpu"] * self._elapsed / max(1, frames) * 1e3, 3)
        if "decoder" in means:
            told["nvdec_share"] = round(means["decoder"], 3)
        if "memory_bytes" in means:
            told["gpu_memory_gib"] = round(max(self._samples["memory_bytes"]) / 2**30, 2)
        if "power_w" in means:
            told["power_w"] = round(means["power_w"])
        return told


# -- subscribers


def subscribe(url: str, streams: int, seconds: float) -> list[subprocess.Popen[str]]:
    """Started and subscribed; each prints its latencies when the time is up."""
    names = [f"s{n}" for n in range(streams)]
    shares = [names[start : start + STREAMS_PER_SUBSCRIBER] for start in range(0, streams, STREAMS_PER_SUBSCRIBER)]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu_service", json.dumps({
                "url": url, "streams": share, "seconds": seconds,
            })], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for share in shares
    ]  # fmt: skip
    for child in children:
        assert child.stdout is not None and child.stdin is not None
        if child.stdout.readline().strip() != "subscribed":
            raise RuntimeError("a subscriber did not connect; its words are above")
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return children


async def _listen(task: dict[str, Any]) -> None:
    import nats

    client = await nats.connect(task["url"], pending_size=64 << 20)
    latency_ms: list[float] = []
    counting = False

    async def heard(message: Any) -> None:
        if counting:
            now = time.time()
            found = CAPTURED.search(message.data)
            assert found is not None, message.data[:200]
            latency_ms.append((now - datetime.fromisoformat(found[1].decode()).timestamp()) * 1e3)

    for stream in task["streams"]:
        await client.subscribe(f"vigil.bench.frames.{stream}", cb=heard)
    await client.flush()
    print("subscribed", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    counting = True
    await asyncio.sleep(task["seconds"])
    counting = False
    await client.close()
    print(json.dumps({"latency_ms": [round(value, 2) for value in latency_ms]}), flush=True)


if __name__ == "__main__":
    asyncio.run(_listen(json.loads(sys.argv[1])))
