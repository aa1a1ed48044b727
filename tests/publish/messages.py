"""Messages as Vigil sends them, for tests of who receives them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import nats.errors
from nats.aio.client import Client

MODEL = {"name": "yolo11n", "hash": "0123456789abcdef", "runtime": "openvino"}
AT = datetime(2026, 11, 21, 3, 7, 54, tzinfo=UTC)


def event(number: int, stream: str = "gate", kind: str = "track.started", **more: Any) -> dict[str, Any]:
    return {
        "schema_version": "1.3", "event_id": f"hq-{stream}-1-{number}-{kind}", "type": kind, "site": "hq",
        "stream": stream, "session": 1, "seq": number, "pts": number / 10,
        "captured_at": (AT + timedelta(seconds=number)).isoformat(), "track_id": number,
        "track_uid": f"{stream}/1/{number}", "class_id": 0, "class_name": "person", "confidence": 0.9,
        "box": [1, 2, 3, 4], "frame": {"width": 640, "height": 480}, "started_at": AT.isoformat(), "frames": 3,
        "model": MODEL, "config_rev": "5f0c1a2b", **more,
    }  # fmt: skip


def frame(seq: int, stream: str = "gate") -> dict[str, Any]:
    return {
        "schema_version": "1.3", "site": "hq", "stream": stream, "session": 1, "seq": seq, "pts": seq / 10,
        "captured_at": AT.isoformat(), "latency_ms": 38.4, "frame": {"width": 640, "height": 480}, "model": MODEL,
        "config_rev": "5f0c1a2b", "objects": [],
    }  # fmt: skip


async def tell(client: Client, *messages: dict[str, Any]) -> None:
    """Publishes events, in order and until they are acknowledged, as the publisher does."""
    for message in messages:
        subject = f"vigil.hq.events.{message['stream']}.{message['type']}"
        headers = {"Nats-Msg-Id": message["event_id"]}
        while True:
            try:
                await client.jetstream().publish(subject, json.dumps(message).encode(), timeout=1, headers=headers)
                break
            except nats.errors.Error:  # the server is away
                await asyncio.sleep(0.02)
