"""Makes messages of what the stages found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from publish.schema.base import Model, Size
from publish.schema.events import BestView, Counted, CountEvent, Summary, TrackEvent
from publish.schema.frames import FrameResult
from publish.schema.status import StreamStatus
from tracking.events import CountReport, CountType, Event, EventType, Identity, Motion, TrackSummary, TrackUpdate

if TYPE_CHECKING:
    from inference.detections import Detections
    from inference.model import ModelInfo
    from ingest.frame import Frame
    from tracking.tracks import Tracks


def when(ns: int) -> datetime:
    """UTC time, to the microsecond, of ns since the epoch."""
    return datetime.fromtimestamp(ns // 1000 / 1e6, UTC)


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else round(ns / 1e9, 6)


def _box(values: list[float] | tuple[float, ...]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(value, 2) for value in values)
    return x1, y1, x2, y2


def _rounded(values: NDArray[np.float32], digits: int) -> list[Any]:
    return values.astype(np.float64).round(digits).tolist()  # type: ignore[no-any-return]


def _details(detections: Detections, row: int) -> dict[str, Any]:
    """What is known of this detection beside its box, as fields of `ObjectSeen`."""
    details: dict[str, Any] = {}
    mask = detections.masks[row] if detections.masks is not None else None
    if mask is not None:
        details["mask"] = {"size": (mask.height, mask.width), "counts": mask.counts}
    if detections.keypoints is not None and not np.isnan(detections.keypoints[row]).any():
        points = detections.keypoints[row]
        details["keypoints"] = [(*at, sure) for at, sure in zip(
            _rounded(points[:, :2], 2), _rounded(points[:, 2], 4), strict=True)]  # fmt: skip
    if detections.corners is not None and not np.isnan(detections.corners[row]).any():
        details["corners"] = _rounded(detections.corners[row], 2)
    return details


def _score(value: float) -> float:
    return round(min(max(value, 0.0), 1.0), 4)


def _of_rule(event: Event) -> dict[str, Any]:
    """What only events of zones and lines have."""
    if event.place is None:
        return {}
    place = "line" if event.type is EventType.LINE_CROSSED else "zone"
    duration_s = None if event.duration_s is None else round(event.duration_s, 3)
    return {place: event.place, "direction": event.direction, "duration_s": duration_s, "count": event.count}


def _of_update(update: TrackUpdate) -> dict[str, Any]:
    return {"changed": list(update.changed), "best": _best(update), "zones": list(update.zones)}


def _who(identity: Identity) -> dict[str, Any]:
    return {"global_id": identity.global_id, "global_confidence": _score(identity.confidence)}


def _best(told: TrackSummary | TrackUpdate) -> BestView:
    best = told.best
    return BestView(seq=best.seq, pts=best.pts_ns / 1e9, captured_at=when(best.captured_at), box=_box(best.box),
                    confidence=_score(best.confidence))  # fmt: skip


def _moving(motion: Motion) -> dict[str, Any]:
    unit = "speed_mps" if motion.on_ground else "speed_heights"
    to = None if motion.heading is None else round(motion.heading, 1) % 360.0
    return {unit: round(motion.speed, 3), "heading": to}


def _summary(summary: TrackSummary) -> Summary:
    distance = "distance_m" if summary.on_ground else "distance_heights"
    return Summary(
        best=_best(summary),
        class_confidence=_score(summary.class_confidence),
        duration_s=round(summary.duration_s, 3),
        path=[(round(at_s, 3), round(x, 1), round(y, 1)) for at_s, x, y in summary.path],
        zones=list(summary.zones),
        **{distance: round(summary.distance, 3)},
    )


class Composer:
    """Turns a stream's contracts into its messages."""

    def __init__(self, site: str, model: ModelInfo, config_rev: str, confidence: float) -> None:
        """`confidence` is the least score of a reported box that belongs to no track."""
        self._confidence = confidence
        self._site = site
        self._model = Model.of(model)
        self._names = model.names
        self._config_rev = config_rev

    def frame_result(
        self, frame: Frame, detections: Detections, tracks: Tracks, now_ns: int,
        motions: Sequence[Motion | None] | None = None, analysed: bool = True,
        identities: Mapping[int, Identity] | None = None,
    ) -> FrameResult:  # fmt: skip
        """`now_ns` is the monotonic time at which the result is published; `motions` are the tracks', if to be told;
        `analysed`: the detector saw the frame; `identities`: who tracks are, by id, of which that is known."""
        seen, found = tracks.detection_rows, len(detections)
        # Boxes as the detector saw them; the tracker's own where it coasts without one.
        tracked = np.where(seen < 0, found + np.arange(len(seen)), seen)
        untracked = detections.scores > self._confidence
        untracked[seen[seen >= 0]] = False
        rows = np.concatenate([tracked, np.flatnonzero(untracked)])
        boxes = np.concatenate([detections.boxes, tracks.boxes])[rows]
        scores = np.concatenate([detections.scores, tracks.scores])[rows]
        class_ids = np.concatenate([tracks.class_ids, detections.class_ids[untracked]]).tolist()
        track_ids = [*tracks.track_ids.tolist(), *repeat(None, len(rows) - len(seen))]
        # One validation of plain values costs a third of one for each object.
        objects: list[dict[str, Any]] = [
            {"track_id": track_id, "class_id": class_id, "class_name": self._names[class_id], "confidence": score,
             "box": box}
            for track_id, class_id, score, box in zip(
                track_ids, class_ids, _rounded(scores.clip(0, 1), 4), _rounded(boxes, 2), strict=True)
        ]  # fmt: skip
        if not detections.is_plain:
            for told, row in zip(objects, rows.tolist(), strict=True):
                if row < found:
                    told.update(_details(detections, row))
        for told, motion in zip(objects, motions or (), strict=False):
            if motion is not None:
                told.update(_moving(motion))
        if identities:
            for told in objects:
                if (identity := identities.get(told["track_id"])) is not None:
                    told.update(_who(identity))
        return FrameResult(
            site=self._site,
            stream=frame.stream,
            session=frame.session,
            seq=frame.seq,
            pts=frame.pts_ns / 1e9,
            captured_at=when(frame.captured_at),
            clock=frame.clock,
            uncertainty=_seconds(frame.uncertainty_ns),
            latency_ms=round((now_ns - frame.arrival_ns) / 1e6, 3),
            frame=Size(width=frame.width, height=frame.height),
            model=self._model,
            config_rev=self._config_rev,
            objects=objects,
            analysed=analysed,
        )

    def status(self, stream: str, state: str, at_ns: int, **details: Any) -> StreamStatus:
        """`at_ns` is ns since the epoch; `details` are fields of the message."""
        return StreamStatus(
            site=self._site,
            stream=stream,
            state=state,
            at=when(at_ns),
            model=self._model,
            config_rev=self._config_rev,
            **details,
        )

    def _told(self, event: Event | CountReport) -> dict[str, Any]:
        """The fields of every event."""
        return {
            "event_id": f"{self._site}-{event.event_id}",
            "type": event.type,
            "site": self._site,
            "stream": event.stream,
            "session": event.session,
            "seq": event.seq,
            "pts": event.pts_ns / 1e9,
            "captured_at": when(event.captured_at),
            "clock": event.clock,
            "uncertainty": _seconds(event.uncertainty_ns),
            "model": self._model,
            "config_rev": self._config_rev,
        }

    def event(self, event: Event) -> TrackEvent:
        return TrackEvent(
            **self._told(event),
            track_id=event.track_id,
            track_uid=event.track_uid,
            class_id=event.class_id,
            class_name=self._names[event.class_id],
            confidence=_score(event.confidence),
            box=_box(event.box),
            frame=Size(width=event.frame_width, height=event.frame_height),
            started_at=when(event.started_at),
            frames=event.frames,
            reason=event.reason,
            **_of_rule(event),
            **(_moving(event.motion) if event.motion is not None else {}),
            **(_of_update(event.update) if event.update is not None else {}),
            summary=None if event.summary is None else _summary(event.summary),
            **(_who(event.identity) if event.identity is not None else {}),
        )

    def counted(self, report: CountReport) -> CountEvent:
        place = "line" if report.type is CountType.LINE_COUNTED else "zone"
        return CountEvent(
            **self._told(report),
            over_s=round(report.over_s, 3),
            counts=[
                Counted(
                    class_name=one.class_name, direction=one.direction, count=one.count,
                    windows={f"{window:g}": count for window, count in one.windows.items()},
                )
                for one in report.counts
            ],
            **{place: report.place},
        )  # fmt: skip
