"""What making and keeping pictures and clips measures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class MediaMetrics:
    """In a worker, which makes them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.made = Counter(
            "vigil_media",
            "Pictures and clips by what became of them: written; limited (too many a minute), dropped (no time or "
            "memory), failed.",
            ["stream", "kind", "outcome"],
            registry=registry,
        )
        self.failing = Gauge(
            "vigil_media_write_failing", "Workers that cannot write pictures and clips.", registry=registry
        )


class KeepingMetrics:
    """In the supervisor, which keeps them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.files = Gauge("vigil_media_files", "Pictures and clips in the store.", registry=registry)
        self.stored = Gauge("vigil_media_stored_bytes", "Bytes in the store.", registry=registry)
        self.backlog = Gauge("vigil_media_backlog_bytes", "Bytes that wait for the store.", registry=registry)
        self.failing = Gauge("vigil_media_store_failing", "1 while the store cannot be used.", registry=registry)
        self.uploads = Counter(
            "vigil_media_uploads", "Files that went to the store, or had to make room before they could.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.removed = Counter(
            "vigil_media_removed", "Files removed: too old, or the oldest of too many.", ["reason"], registry=registry
        )
