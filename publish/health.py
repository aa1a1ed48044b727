"""Whether the service is of use, as everybody may know it: names alone, as hosts are told only to who has the token."""

from __future__ import annotations

from typing import Any, Protocol


class Standing(Protocol):
    def ready(self) -> dict[str, bool]:
        """The parts that must stand, and whether they do."""
        ...

    def nats_state(self) -> dict[str, Any]:
        """`state`, and `troubles` with codes."""
        ...


def health(service: Standing) -> dict[str, Any]:
    """`status` is `ready` or `not ready`."""
    parts = service.ready()
    nats = service.nats_state()
    known = {"state": nats["state"], "troubles": sorted({one["code"] for one in nats["troubles"]})}
    return {"status": "ready" if all(parts.values()) else "not ready", **parts, "nats_state": known}
