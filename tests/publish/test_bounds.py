"""An outbox that is too full says so, once, and is kept within its bounds."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from publish import bounds
from publish.bounds import Bounds
from publish.config import OutboxConfig
from publish.metrics import OutboxMetrics
from publish.outbox import FILE, Durable, Outbox
from publish.trouble import Troubles

MIB = 1 << 20


def test_a_full_outbox_drops_its_oldest_and_is_a_trouble_until_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "LOOK_S", 0.01)
    registry, troubles = CollectorRegistry(), Troubles()

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, labels) or 0.0

    async def until(condition: object) -> None:
        async with asyncio.timeout(10):
            while not condition():  # type: ignore[operator]
                await asyncio.sleep(0.01)

    async def play() -> None:
        kept = Bounds(Outbox.open(tmp_path / FILE, 1), OutboxConfig(max_bytes=MIB), OutboxMetrics(registry), troubles)
        running = asyncio.create_task(kept.run())
        with closing(Outbox.open(tmp_path / FILE, 2)) as outbox:
            for _ in range(3):
                outbox.append([Durable("s", {}, bytes(4000)) for _ in range(200)])
            await until(troubles.now)
            await until(lambda: 0 < value("vigil_outbox_bytes") <= MIB)
            (trouble,) = troubles.now()
            assert trouble.code == "outbox.full"
            assert "raise `outbox.max_bytes`" in trouble.mend
            left = len(outbox.after(0, 1000))
            assert value("vigil_events_dropped_total", reason="outbox_full") == 600 - left
            assert value("vigil_outbox_pending") == left
            outbox.delivered([one.id for one in outbox.after(0, 1000)])
            await until(lambda: not troubles.now())
        running.cancel()

    asyncio.run(play())
