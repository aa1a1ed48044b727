"""A NATS server of the user's own: what is wrong with it is told by name, and cameras are paused over it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from tests.e2e.conftest import services
from tests.e2e.real import Running, wait_for
from tests.publish.servers import Server, serving

PASSWORD = "s3cr3t-w0rd"


def users(password: str, allowed: str) -> str:
    return (
        f'authorization {{ users = [{{user: vigil, password: "{password}", permissions: {{publish: {allowed}}}}},'
        f'{{user: admin, password: "{PASSWORD}"}}] }}'
    )


EVERYTHING, NO_FRAMES = '[">"]', '["vigil.*.events.>", "vigil.*.status.>", "$JS.>", "_INBOX.>"]'


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("nats"), users("other", EVERYTHING)) as server:
        yield server


@pytest.fixture(scope="module")
def service(external: Server, street: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Logs in with a password that the server does not know yet; `spare` is paused from the start."""
    camera = {"url": str(street), "loop": True}
    with services(tmp_path_factory.mktemp("service")) as start:
        yield start({
            "nats": {"url": external.url, "user": "vigil", "password": "${NATS_PASSWORD}"},
            "streams": {"gate": camera, "spare": {**camera, "paused": True}},
        }, env={"NATS_PASSWORD": PASSWORD})  # fmt: skip


def on_nats(external: Server, script: Callable[[nats.NATS], Any]) -> Any:
    async def main() -> Any:
        client = await nats.connect(external.url, user="admin", password=PASSWORD)
        found = await script(client)
        await client.close()
        return found

    return asyncio.run(main())


def troubles(service: Running) -> list[str]:
    found: list[str] = service.ready()["nats_state"]["troubles"]
    return found


def test_what_is_wrong_with_nats_is_told_once_by_name_until_it_is_mended(service: Running, external: Server) -> None:
    wait_for("the refused login", lambda: troubles(service) == ["nats.auth"])
    assert service.ready()["nats_state"]["state"] == "disconnected"
    external.reload(users(PASSWORD, NO_FRAMES))

    def wrong() -> dict[str, Any]:
        shown = json.loads(service.get("/api/v1/nats"))
        # Another process may still be on its way back to the server.
        return {one["code"]: one for one in shown["troubles"]} if shown["state"] == "troubled" else {}

    by_code = wait_for("what is wrong now", lambda: found if "nats.permission" in (found := wrong()) else None)
    assert by_code["nats.permission"]["about"] == "publish to vigil.test.frames.>"
    assert by_code["nats.permission"]["mend"] == "allow it to publish to `vigil.test.frames.>`"
    measured = 'vigil_nats_troubles{code="nats.permission"}'
    wait_for("its metric", lambda: measured in service.get("/metrics"))
    external.reload(users(PASSWORD, EVERYTHING))
    log = service.log.read_text()
    assert "Traceback" not in log and PASSWORD not in log
    told = [json.loads(line) for line in log.splitlines() if '"code": "nats.auth"' in line]
    warned = [line for line in told if line["level"] == "warning"]
    assert 1 <= len(warned) <= 2, "once by each process"


def test_a_paused_camera_is_let_go_of_and_taken_up_again(service: Running, external: Server) -> None:
    external.reload(users(PASSWORD, EVERYTHING))

    def state(stream: str) -> str:
        found: str = service.streams()[stream]["state"]
        return found

    def ask(endpoint: str, **body: Any) -> Any:
        async def script(client: nats.NATS) -> Any:
            answer = await client.request(f"vigil.test.control.{endpoint}", json.dumps(body).encode(), timeout=30)
            return json.loads(answer.data)

        return on_nats(external, script)

    def last_status(stream: str) -> str | None:
        async def script(client: nats.NATS) -> str | None:
            try:
                found = await client.jetstream().get_last_msg("VIGIL_STATUS", f"vigil.test.status.{stream}")
            except nats.js.errors.NotFoundError:
                return None
            return str(json.loads(found.data or b"{}")["state"])

        return on_nats(external, script)  # type: ignore[no-any-return]

    wait_for("the camera", lambda: state("gate") == "live")
    assert state("spare") == "paused"
    wait_for("its state on NATS", lambda: last_status("spare") == "paused")
    assert ask("streams.pause", id="gate")["id"] == "gate"
    wait_for("it is let go of", lambda: state("gate") == "paused")
    wait_for("its state on NATS", lambda: last_status("gate") == "paused")
    shown = 'vigil_stream_state{state="paused",stream="gate"} 1.0'
    wait_for("its metric", lambda: shown in service.get("/metrics"))
    assert 'vigil_stream_state{state="live",stream="gate"} 1.0' not in service.get("/metrics")
    wait_for("all is well", lambda: ask("health")["status"] == "ready")
    kept = service.file.with_name("vigil.streams.yaml")
    assert "rtsp" not in kept.read_text() and "gate:\n  paused: true\n" in kept.read_text()
    service.file.write_text(service.file.read_text() + "# edited\n")
    resumed = subprocess.run(
        [sys.executable, "-m", "vigil.cli", "streams", "resume", "gate", "--nats", external.url.replace(
            "//", f"//admin:{PASSWORD}@"), "--site", "test"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    wait_for("it is taken up", lambda: state("gate") == "live")
    assert not kept.exists()
    resume = service.addresses["http"] + "/api/v1/streams/spare/resume?keep=false"
    request = urllib.request.Request(resume, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.loads(answer.read())["settings"]["paused"] is False
    wait_for("the other one too", lambda: state("spare") == "live")
