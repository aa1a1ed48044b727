"""Asks a running service's HTTP API what schemathesis makes of its OpenAPI document: `python -m benchmarks.fuzz_http`.

What it finds wrong is an answer that the document does not know, or 500. The service has a scene for a camera, and is
started and ended here. `EXAMPLES=200` asks more of each route.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = int(os.environ.get("EXAMPLES", "30"))
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
# These go on for as long as somebody listens.
ENDLESS = ("/api/v1/live", "/api/v1/streams/{stream}/preview.mjpg")
CONFIG = """
site: fuzz
state_dir: state
http: {port: 0, requests_per_second: 100000}
detector: {model: starter, image_size: 320}
streams: {gate: {url: "scene://street", fps: 1}}
"""
START_S = 120.0
ASK_S = 60.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vigil.yaml"
        file.write_text(CONFIG)
        with (Path(folder) / "log").open("wb") as log:
            service = subprocess.Popen([sys.executable, "-m", "vigil.cli", "run", "-c", str(file)], stderr=log)
            try:
                failures = _fuzz(_address(service, Path(folder) / "state/addresses.json"))
            finally:
                service.send_signal(signal.SIGTERM)
                service.wait(20)
    sys.exit(1 if failures else 0)


def _address(service: subprocess.Popen[bytes], file: Path) -> str:
    ends = time.monotonic() + START_S
    while not file.exists():
        if service.poll() is not None or time.monotonic() > ends:
            sys.exit("the service does not start")
        time.sleep(0.1)
    return str(json.loads(file.read_text())["http"])


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag", "application/yaml")
def text(context: Any, value: Any) -> bytes:
    del context
    return str(value).encode(errors="replace")


def ask_everything(schema: Any, ask: Callable[[schemathesis.Case], None], examples: int, again: bool = False) -> None:
    """Has `ask` ask so many things of each route that it may be asked, and as many that it may not; the same as last
    time if `again`."""
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in ENDLESS:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            asking = settings(
                max_examples=examples, phases=[Phase.generate], derandomize=again, deadline=None, database=None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            with contextlib.suppress(Unsatisfiable):  # nothing that it takes can be wrong
                asking(given(case=operation.as_strategy(generation_mode=mode))(ask))()


def _fuzz(address: str) -> int:
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")  # without a token, as a program on this machine
    answers: Counter[int] = Counter()
    failures: dict[str, str] = {}

    def ask(case: schemathesis.Case) -> None:
        response = case.call(timeout=ASK_S)
        answers[response.status_code] += 1
        name = f"{case.method} {case.path} {response.status_code}"
        if response.status_code == 500:
            failures[name] = response.text
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as wrong:
            failures.setdefault(name, str(wrong))

    ask_everything(schema, ask, EXAMPLES)
    for name, words in failures.items():
        print(f"\n{name}\n{words}")
    told = ", ".join(f"{status}: {count}" for status, count in sorted(answers.items()))
    print(f"\n{sum(answers.values())} requests answered ({told}); {len(failures)} answers that should not have been")
    return len(failures)


if __name__ == "__main__":
    main()
