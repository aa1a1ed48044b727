"""BoxMOT's trackers: StrongSORT, BoT-SORT, OC-SORT, Deep OC-SORT, Hybrid-SORT and BoostTrack.

BoxMOT counts frames. Here media time decides: how far objects move between two frames, in whole nominal frame
intervals, and when a lost track is over. At a steady full rate the tracks are BoxMOT's own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from inference.detections import Detections
from ingest.frame import Frame
from tracking.config import TrackerConfig
from tracking.trackers import lost_after_ns, needs_features, wants_features
from tracking.trackers.coasting import Coasting
from tracking.trackers.torch_later import torch_later
from tracking.tracks import Tracks

log = structlog.get_logger()

# Nothing moves the same way for longer; predicting on would only cost time.
MOST_INTERVALS = 50
# What BoxMOT keeps of each track's past by default; where `max_age` is more, it keeps more, and copies it now and then.
HISTORY = 50
LONGEST_HISTORY = 1000
CAMERA_METHODS = {"sparse_flow": "sof", "ecc": "ecc"}

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One of BoxMOT's trackers.

    Attributes:
        path: its class.
        settings: what it is constructed with, by our config and whether it compares looks.
        lists: where it keeps its tracks.
        limit: its attribute that says after how many frames a lost track is over.
        saw: whether it saw a track in the last frame.
        is_unsure: whether it keeps a track to itself because it has not seen it often enough of late.
        advance: moves its tracks on by an interval in which there was no frame.
    """

    path: str
    settings: Callable[[TrackerConfig, bool], Settings]
    lists: tuple[str, ...]
    limit: str
    saw: Callable[[Any, Any], bool]
    is_unsure: Callable[[Any, Any], bool]
    advance: Callable[[Any], None]


@dataclass(slots=True)
class _Life:
    """When a track was last seen and last told, media time, and our id; 0: it was not told yet."""

    seen_ns: int
    told_ns: int = 0
    id: int = 0


class BoxmotTracker:
    """Ids count from 1 in each tracker; a track that was unseen for longer than `lost_after` never comes back.

    Looks are compared from the first frame on in which objects have features; tracks have other ids from then on, as
    BoxMOT compares looks or does not, and so they have when another model's features come.
    """

    def __init__(self, config: TrackerConfig, frame_rate: float) -> None:
        self._config = config
        self._kind = KINDS[config.kind]
        self._class = load_class(self._kind.path)
        self._interval_ns = 1e9 / frame_rate
        self._lost_after_ns = lost_after_ns(config, frame_rate)
        self._tracker: Any = None
        self._width = 0  # of the features that are compared
        self._frames = 0
        self._now: int | None = None
        self._last_id = 0
        self._failed = False
        self._lives: dict[int, _Life] = {}  # by BoxMOT's id
        self._shown = Tracks.empty()
        self._coasting = Coasting()

    def update(self, detections: Detections, frame: Frame) -> Tracks:
        elapsed = self._elapsed(frame)
        self._now = frame.pts_ns
        if self._tracker is None or self._width_of(detections) not in (0, self._width):
            self._tracker, self._lives = self._new(detections), {}
        if self._tracker is not None:
            self._forget()
            for _ in range(min(round(elapsed), MOST_INTERVALS) - 1):
                self._kind.advance(self._tracker)
        self._frames += 1
        self._shown = self._told(self._track(detections, frame), detections)
        self._coasting.saw(self._shown, elapsed)
        return self._shown

    def coast(self, frame: Frame) -> Tracks:
        return self._shown.moved_to(self._coasting.boxes(self._shown, self._elapsed(frame)))

    def hold(self, frame: Frame) -> Tracks:
        if self._now is not None:
            for life in self._lives.values():
                life.seen_ns += frame.pts_ns - self._now
                life.told_ns += frame.pts_ns - self._now
        self._now = frame.pts_ns
        return self._shown.moved_to(self._shown.boxes)

    def _elapsed(self, frame: Frame) -> float:
        """Nominal frame intervals since the last frame; 0: this is the first one."""
        return 0.0 if self._now is None else (frame.pts_ns - self._now) / self._interval_ns

    def _width_of(self, detections: Detections) -> int:
        """How many numbers tell how an object looks; 0: it is not known, or not asked for."""
        features = detections.features
        return 0 if features is None or not wants_features(self._config) else features.shape[1]

    def _new(self, detections: Detections) -> Any:
        self._width = self._width_of(detections)
        intervals = min(math.ceil(self._lost_after_ns / self._interval_ns), LONGEST_HISTORY)
        tracker = self._class(max_age=intervals, max_obs=HISTORY, **self._kind.settings(self._config, self._width > 0))
        setattr(tracker, self._kind.limit, 1 << 40)  # we know the time, and take lost tracks away ourselves
        tracker.frame_count = self._frames
        tracker.cmc = None
        if self._config.camera_motion != "off":
            from boxmot.motion.cmc import create_cmc

            tracker.cmc = create_cmc(CAMERA_METHODS[self._config.camera_motion])
        return tracker

    def _tracks(self) -> list[Any]:
        return [track for name in self._kind.lists for track in getattr(self._tracker, name)]

    def _forget(self) -> None:
        """Takes tracks away that were unseen for too long."""
        assert self._now is not None
        oldest = self._now - self._lost_after_ns
        for name in self._kind.lists:
            tracks = getattr(self._tracker, name)
            tracks[:] = [track for track in tracks if self._lives[track.id].seen_ns >= oldest]
            for track in tracks:
                past = getattr(track, "observations", {})
                if len(past) > HISTORY:  # Deep OC-SORT's grow for as long as a track lives
                    del past[next(iter(past))]

    def _track(self, detections: Detections, frame: Frame) -> NDArray[np.float32]:
        """BoxMOT's rows: box, its id, score, class, detection row."""
        nothing = np.zeros((0, 8), np.float32)
        if self._tracker is None:
            return nothing
        sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
        whole = np.flatnonzero((sides > 0).all(axis=1))
        rows = np.column_stack([detections.boxes, detections.scores, detections.class_ids])[whole].astype(np.float32)
        picture = frame.bgr() if self._tracker.cmc is not None else None
        try:
            # What `update` calls, without the ReID model that it would load and the tensors that it would make.
            told = self._tracker._track_detections(rows, picture, self._looks(detections, whole), None)
        except Exception:
            # Another's library, in a process that serves other streams too.
            if not self._failed:
                log.exception("a tracker failed; its tracks end", tracker=self._config.kind, stream=frame.stream)
            self._failed = True
            self._tracker, self._lives = None, {}
            return nothing
        told = np.concatenate([told, self._found_again(rows, told)])
        told[:, 7] = whole[told[:, 7].astype(np.intp)]
        return told

    def _found_again(self, found: NDArray[np.float32], told: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows, as BoxMOT's, of tracks that it sees again and has told before, but would rather see some times more.

        An object that was hidden is told at once. Until it was told again its track might have ended for all who
        listen, who would take it for another one then.
        """
        shown = set(told[:, 4].astype(np.int64).tolist())
        again = [
            track
            for track in self._tracks()
            if track.id not in shown
            and (life := self._lives.get(track.id)) is not None
            and life.id
            and self._kind.saw(self._tracker, track)
            and self._kind.is_unsure(self._tracker, track)
        ]
        rows = np.zeros((len(again), 8), np.float32)
        rows[:, 7] = [track.det_ind for track in again]
        rows[:, :4] = found[rows[:, 7].astype(np.intp), :4]
        rows[:, 4] = [track.id for track in again]
        return rows

    def _looks(self, detections: Detections, rows: NDArray[np.intp]) -> NDArray[np.float32] | None:
        """The features of `rows`; all the same where there are none, so that they tell nothing apart."""
        if not self._width and not needs_features(self._config):
            return None
        width = self._width or 1
        looks = np.full((len(rows), width), width**-0.5, np.float32)
        if self._width and detections.features is not None:
            features = detections.features[rows]
            known = features.any(axis=1)
            looks[known] = features[known]
        return looks

    def _told(self, rows: NDArray[np.float32], detections: Detections) -> Tracks:
        """BoxMOT's rows as tracks, in the order of our ids; takes note of who was seen."""
        assert self._now is not None
        before, self._lives = self._lives, {}
        for track in self._tracks() if self._tracker is not None else []:
            life = self._lives[track.id] = before.get(track.id) or _Life(self._now)
            if self._kind.saw(self._tracker, track):
                life.seen_ns = self._now
        rows = rows[np.argsort(rows[:, 4])]
        told = [self._lives[track] for track in rows[:, 4].astype(np.int64).tolist()]
        for life in told:
            # Seen in time, but told too late, as BoostTrack leaves some shapes out: it has ended for all who listen.
            if not life.id or self._now - life.told_ns > self._lost_after_ns:
                self._last_id += 1
                life.id = self._last_id
            life.told_ns = self._now
        ids = np.array([life.id for life in told], np.int64)
        order = np.argsort(ids)
        boxes, found = rows[order, :4].copy(), rows[order, 7].astype(np.int32)
        bad = ~((boxes[:, 2:] > boxes[:, :2]).all(axis=1) & np.isfinite(boxes).all(axis=1))
        boxes[bad] = detections.boxes[found[bad]]
        return Tracks(ids[order], boxes, detections.scores[found], detections.class_ids[found], found)


def load_class(path: str) -> Any:
    """A class of BoxMOT's."""
    module, _, name = path.partition(":")
    with torch_later():
        loaded = getattr(import_module(module), name)
    if module.endswith("strongsort.tracker"):
        # Its one use of PyTorch: arrays that become tensors and then arrays again.
        distances: Any = import_module("boxmot.trackers.common.association.strongsort")
        distances.torch = SimpleNamespace(from_numpy=np.asarray)
    logger = logging.getLogger("boxmot")
    logger.handlers.clear()  # it would write what every tracker is made of, in colour, between our lines
    logger.setLevel(logging.ERROR)
    return loaded


def _saw_by_time(_: Any, track: Any) -> bool:
    return bool(track.time_since_update == 0)


def _saw_by_frame(tracker: Any, track: Any) -> bool:
    return bool(track.frame_id == tracker.frame_count)


def _never(_: Any, track: Any) -> bool:
    return False


def _has_short_streak(tracker: Any, track: Any) -> bool:
    return bool(track.hit_streak < tracker.min_hits)


def _has_short_streak_and_counts(tracker: Any, track: Any) -> bool:
    row = np.array([[*track.get_state()[0][:4], 0, 0, 0, 0]], np.float32)
    return _has_short_streak(tracker, track) and len(tracker.filter_outputs(row)) > 0


def _predict(track: Any) -> None:
    """A step in which nobody looked: what was seen in the last frame is not lost by it."""
    seen, streak = track.time_since_update == 0, track.hit_streak
    track.predict()
    if seen:
        track.time_since_update, track.hit_streak = 0, streak


def _advance_oc_sort(tracker: Any) -> None:
    for track in tracker.active_tracks:
        _predict(track)
        track.kf.update(None)  # so that OC-SORT goes over the gap again by what it sees at its end


def _advance_boost(tracker: Any) -> None:
    for track in tracker.trackers:
        _predict(track)


def _advance_strong(tracker: Any) -> None:
    for track in tracker.tracks:
        track.mean, track.covariance = track.kf.predict(track.mean, track.covariance)
        track.time_since_update += track.time_since_update > 0


def _advance_bot(tracker: Any) -> None:
    tracks = [track for track in tracker.active_tracks if track.is_activated] + tracker.lost_stracks
    if tracks:
        type(tracks[0]).multi_predict(tracks)


def _strong_settings(config: TrackerConfig, looks: bool) -> Settings:
    own = config.strongsort
    return {
        "min_conf": config.high_confidence, "max_cos_dist": own.max_cosine_distance, "n_init": own.n_init,
        "max_iou_dist": own.max_iou_distance, "mc_lambda": own.appearance_weight, "ema_alpha": own.ema_alpha,
    }  # fmt: skip


def _bot_settings(config: TrackerConfig, looks: bool) -> Settings:
    own = config.botsort
    return {
        "track_high_thresh": config.high_confidence, "new_track_thresh": config.high_confidence,
        "track_low_thresh": config.low_confidence, "match_thresh": config.match_threshold,
        "proximity_thresh": own.proximity_threshold, "appearance_thresh": own.appearance_threshold,
        "fuse_first_associate": own.fuse_score, "use_embeddings": looks, "use_cmc": False,
    }  # fmt: skip


def _oc_settings(config: TrackerConfig, looks: bool) -> Settings:
    own = config.ocsort
    return {
        "det_thresh": config.high_confidence, "min_conf": config.low_confidence, "iou_threshold": own.iou_threshold,
        "min_hits": own.min_hits, "delta_t": own.delta_t, "inertia": own.inertia, "use_byte": own.use_byte,
    }  # fmt: skip


def _deep_oc_settings(config: TrackerConfig, looks: bool) -> Settings:
    own = config.deepocsort
    return {
        "det_thresh": config.high_confidence, "iou_threshold": own.iou_threshold, "min_hits": own.min_hits,
        "delta_t": own.delta_t, "inertia": own.inertia, "w_association_emb": own.appearance_weight,
        "alpha_fixed_emb": own.ema_alpha, "aw_off": not own.adaptive_weighting, "use_embeddings": looks,
        "cmc_off": config.camera_motion == "off",
    }  # fmt: skip


def _hybrid_settings(config: TrackerConfig, looks: bool) -> Settings:
    own = config.hybridsort
    return {
        "det_thresh": config.high_confidence, "track_thresh": config.high_confidence,
        "low_thresh": config.low_confidence, "iou_threshold": own.iou_threshold, "asso_func": own.association,
        "min_hits": own.min_hits, "delta_t": own.delta_t, "inertia": own.inertia, "use_byte": own.use_byte,
        "EG_weight_high_score": own.appearance_weight, "EG_weight_low_score": own.weak_appearance_weight,
        "alpha": own.ema_alpha, "use_embeddings": looks, "cmc_method": None,
    }  # fmt: skip


def _boost_settings(config: TrackerConfig, looks: bool) -> Settings:
    own = config.boosttrack
    return {
        "det_thresh": config.high_confidence, "iou_threshold": own.iou_threshold, "min_hits": own.min_hits,
        "lambda_iou": own.lambda_iou, "lambda_mhd": own.lambda_mhd, "lambda_shape": own.lambda_shape,
        "use_dlo_boost": own.boost_known, "use_duo_boost": own.boost_unknown, "use_rich_s": own.plus_plus,
        "use_sb": own.plus_plus, "use_vt": own.plus_plus, "aspect_ratio_thresh": own.max_aspect_ratio,
        "use_embeddings": looks, "use_cmc": False,
    }  # fmt: skip


_BOX = "boxmot.trackers.box"
KINDS = {
    "strongsort": Kind(
        f"{_BOX}.strongsort.tracker:StrongSort", _strong_settings, ("tracks",), "max_age", _saw_by_time, _never,
        _advance_strong,
    ),
    "botsort": Kind(
        f"{_BOX}.botsort.tracker:BotSort", _bot_settings, ("active_tracks", "lost_stracks"), "max_time_lost",
        _saw_by_frame, _never, _advance_bot,
    ),
    "ocsort": Kind(
        f"{_BOX}.ocsort.tracker:OcSort", _oc_settings, ("active_tracks",), "max_age", _saw_by_time, _has_short_streak,
        _advance_oc_sort,
    ),
    "deepocsort": Kind(
        f"{_BOX}.deepocsort.tracker:DeepOcSort", _deep_oc_settings, ("active_tracks",), "max_age", _saw_by_time,
        _has_short_streak, _advance_oc_sort,
    ),
    "hybridsort": Kind(
        f"{_BOX}.hybridsort.tracker:HybridSort", _hybrid_settings, ("active_tracks",), "max_age", _saw_by_time,
        _has_short_streak, _advance_oc_sort,
    ),
    "boosttrack": Kind(
        f"{_BOX}.boosttrack.tracker:BoostTrack", _boost_settings, ("trackers",), "max_age", _saw_by_time,
        _has_short_streak_and_counts, _advance_boost,
    ),
}  # fmt: skip
