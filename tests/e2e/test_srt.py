"""An SRT encoder as a camera of the service: it goes, comes back, and its passphrase stays secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ingest.errors import SourceError
from ingest.sources.libsrt import library
from tests.e2e.real import Inbox, Running, wait_for
from tests.srt import SrtSender, free_port, need_sender

PASSPHRASE = "s3cr3t-passphrase"


def test_an_encoder_that_restarts_is_live_again_and_its_passphrase_is_shown_nowhere(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], street: Path
) -> None:
    try:
        library()
    except SourceError as error:
        pytest.skip(error.detail)
    need_sender()
    port = free_port()
    url = f"srt://127.0.0.1:{port}?passphrase=${{SRT_PASSPHRASE}}"
    streams = {
        "gate": {"url": url, "connect_timeout": 3, "read_timeout": 2},
        "wrong": {"url": f"srt://127.0.0.1:{port}?passphrase={PASSPHRASE}-wrong"},
    }
    with SrtSender(street, "listener", port, passphrase=PASSPHRASE) as encoder:
        service = run_service({"streams": streams, "log": {"format": "json", "level": "debug"}},
                              {"SRT_PASSPHRASE": PASSPHRASE})  # fmt: skip
        inbox = subscribe(service)
        wait_for("frames over SRT", lambda: len(inbox.of("gate")) > 10)
        wait_for("the refusal", lambda: service.streams()["wrong"].get("reason") == "auth")
        first = inbox.of("gate")[0]["session"]
        encoder.__exit__()
        wait_for("the loss is told", lambda: service.streams()["gate"]["state"] == "backoff")
        encoder.__enter__()
        wait_for("a new session", lambda: any(frame["session"] > first for frame in inbox.of("gate")))
        titles = [" ".join(p.cmdline()) for p in psutil.Process(service.process.pid).children(recursive=True)]
        shown = [json.dumps(service.streams()), service.get("/metrics"), *titles, *(raw.decode() for raw in inbox.raw)]
        assert service.stop() == 0
    shown.append(service.log.read_text())
    assert not [text for text in shown if PASSPHRASE in text]
