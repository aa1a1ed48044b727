"""Whether the service is of use, and how it stands with NATS, over all its processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vigil.board import SUPERVISOR
from vigil.delivery import Delivery
from vigil.detectors import Detectors
from vigil.fleet import Fleet


class Readiness:
    """The `publish.health.Standing` of a service."""

    def __init__(self, detectors: Detectors, fleet: Fleet, delivery: Callable[[], Delivery | None]) -> None:
        """`delivery` is None until NATS has an address."""
        self._detectors = detectors
        self._fleet = fleet
        self._delivery = delivery

    def ready(self) -> dict[str, bool]:
        """The parts that must stand before the service is of use, and whether they do."""
        delivery, shards, connected = self._delivery(), self._fleet.shards, self._fleet.connected
        return {
            "model": all(place.ready for place in self._detectors.all()),
            "workers": all(shard.child is not None and not shard.child.ended.is_set() for shard in shards),
            "nats": delivery is not None and delivery.works and all(connected.values())
            and len(connected) >= len(shards),
        }  # fmt: skip

    def nats_state(self) -> dict[str, Any]:
        """`state`, and what is wrong by name, each with the processes that suffer from it."""
        told, delivery = dict(self._fleet.nats_troubles), self._delivery()
        if delivery is not None:
            told[SUPERVISOR] = delivery.connection.troubles.told()
        troubles: dict[tuple[str, str | None], dict[str, Any]] = {}
        for process, several in sorted(told.items()):
            for one in several:
                known = troubles.setdefault((one["code"], one["about"]), {**one, "processes": []})
                known["processes"].append(process)
        state = "disconnected" if not self.ready()["nats"] else "troubled" if troubles else "connected"
        return {"state": state, "troubles": list(troubles.values())}
