"""What has become of each stream, for who asks and who listens. Lives in the supervisor's loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from inference.model import ModelInfo
from ingest.metrics import IngestMetrics
from ingest.reconnect import StreamState
from publish.live import Audience, Told
from publish.metrics import MergedMetrics, forget_stream
from publish.schema import Model
from vigil.broadcast import status

SUPERVISOR = "supervisor"
# Told of a stream that is no more, to who listens.
REMOVED = "removed"


@dataclass(slots=True)
class StreamView:
    """What is known of a stream, for the API."""

    state: str = StreamState.CONNECTING.value
    details: dict[str, Any] = field(default_factory=dict)


class Board:
    """The streams as they are shown: workers tell of theirs; of those that no worker has, the supervisor does.

    Attributes:
        streams: by name.
    """

    def __init__(
        self,
        metrics: MergedMetrics,
        registry: CollectorRegistry,
        audience: Audience,
        publish: Callable[[str, StreamState, dict[str, Any]], None],
        model: Callable[[str], ModelInfo | None],
    ) -> None:
        """`registry` is the supervisor's own, of those in `metrics`; `publish` is for what no worker can publish;
        `model` is that which looks at a stream, None until it is loaded."""
        self.streams: dict[str, StreamView] = {}
        self._metrics = metrics
        self._registry = registry
        self._ingest = IngestMetrics(registry)
        self._audience = audience
        self._publish = publish
        self._model = model

    def listed(self) -> list[dict[str, Any]]:
        """Every stream's state, its frames and tracks, and its model as messages name it."""
        return [
            {
                "id": name,
                "state": view.state,
                **view.details,
                "frames": int(self._metrics.value("vigil_frames_total", stream=name, outcome="analysed")),
                "tracks": int(self._metrics.value("vigil_tracks_active", stream=name)),
                "model": None if (model := self._model(name)) is None else Model.of(model).model_dump(),
            }
            for name, view in self.streams.items()
        ]

    def present(self) -> list[Told]:
        """The streams' states, for who begins to listen."""
        return [status(name, view.state, view.details) for name, view in self.streams.items()]

    def expect(self, stream: str) -> None:
        """It is new, and nothing is known of it yet."""
        self._view(stream, StreamView())

    def told(self, stream: str, state: StreamState, details: dict[str, Any]) -> None:
        """A worker has told it, and everyone else too."""
        self._view(stream, StreamView(state.value, details))
        self._unshow(stream)

    def told_here(self, stream: str, state: StreamState, details: dict[str, Any]) -> None:
        """The supervisor knows it, and no worker does: so the supervisor publishes it."""
        self._show(stream, state, details)
        self._publish(stream, state, details)

    def gone(self, stream: str, paused: bool) -> None:
        """No worker has it any more; `paused`: it is still known."""
        view = self.streams.pop(stream, None)
        self._unshow(stream)
        self._metrics.forget(stream)
        if not paused:
            self._audience.tell(status(stream, REMOVED, {}))
            return
        self._show(stream, StreamState.PAUSED, {})
        if view is None or view.state != StreamState.PAUSED:  # its worker could not say so any more
            self._publish(stream, StreamState.PAUSED, {})

    def _view(self, stream: str, view: StreamView) -> None:
        self.streams[stream] = view
        self._audience.tell(status(stream, view.state, view.details))

    def _show(self, stream: str, state: StreamState, details: dict[str, Any]) -> None:
        self._view(stream, StreamView(state.value, details))
        for other in StreamState:
            self._ingest.state.labels(stream, other.value).set(other is state)
        self._metrics.refresh()

    def _unshow(self, stream: str) -> None:
        """Its worker has it in its metrics."""
        forget_stream(self._registry, stream)
        self._metrics.left(SUPERVISOR, stream)
