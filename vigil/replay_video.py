"""A recording with what was seen in it drawn on top, as H.264 in MP4."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
import supervision as sv
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from ingest.clock import NS
from publish.schema import TrackEvent
from tracking.events import EventType
from tracking.tracks import Tracks
from vigil.config import StreamConfig
from vigil.recording import Seen
from vigil.replay_files import Write, appearing

# MPEG's own clock: fine enough for the times of any video.
TICKS = 90_000
OPTIONS = {"preset": "veryfast", "crf": "23"}
TRACE_S = 2.0
FILL = 0.15
ZONES, LINES = sv.ColorPalette.from_hex(["#ffd166", "#06d6a0", "#4cc9f0", "#f78c6b"]), sv.Color.from_hex("#ef476f")
INK, PAPER = sv.Color.WHITE, sv.Color.from_hex("#202020")

Picture = NDArray[np.uint8]
Encode = Callable[[Picture, int], None]


@contextmanager
def annotated_video(path: Path, rate: float, stream: StreamConfig, names: Sequence[str]) -> Iterator[Write]:
    """Every decoded frame, at its own time; one that was not analysed shows what was seen last.

    Args:
        path: the file.
        rate: the recording's frames a second.
        stream: whose zones and lines are drawn.
        names: the model's classes, by id.
    """
    canvas = Canvas(stream, names, rate)
    with appearing(path) as part, _encoder(part, rate) as encode:

        def write(seen: Seen) -> None:
            encode(canvas.draw(seen), seen.frame.pts_ns)

        yield write


class Canvas:
    """Draws boxes, ids and traces of tracks, zones with who is in them, lines with who crossed them, and the time."""

    def __init__(self, stream: StreamConfig, names: Sequence[str], rate: float) -> None:
        """`rate` is frames a second."""
        self._zones, self._lines = stream.zones, stream.lines
        self._names = names
        self._tracks = Tracks.empty()
        self._inside: Counter[str] = Counter()  # by zone
        self._crossed: dict[str, Counter[str]] = defaultdict(Counter)  # by line, then by direction
        self._trace_frames = max(2, round(TRACE_S * rate))
        self._size: tuple[int, int] | None = None

    def draw(self, seen: Seen) -> Picture:
        """The frame annotated, uint8 [height, width, 3], BGR, behind the stream's privacy masks."""
        picture = seen.frame.bgr().copy()
        height, width, _ = picture.shape
        if self._size != (width, height):
            self._fit(width, height)
        for event in seen.events:
            if isinstance(event, TrackEvent):
                self._count(event)
        if seen.tracks is not None:
            self._tracks = seen.tracks
        self._draw_places(picture)
        self._draw_tracks(picture)
        self._name_places(picture)
        seconds = seen.frame.pts_ns / NS
        self._say(picture, f"{int(seconds // 60):02}:{seconds % 60:04.1f}", np.array([0, height]))
        return picture

    def _fit(self, width: int, height: int) -> None:
        """Chooses sizes that can be read in a picture of this size."""
        self._size = width, height
        self._scale = max(0.35, min(width, height) / 1500)
        self._thickness = max(1, round(min(width, height) / 250))
        self._margin = max(12, round(min(width, height) / 40))
        by_track = sv.ColorLookup.TRACK
        self._boxes = sv.BoxAnnotator(thickness=self._thickness, color_lookup=by_track)
        self._labels = sv.LabelAnnotator(text_scale=self._scale, text_padding=3, color_lookup=by_track)
        self._traces = sv.TraceAnnotator(
            thickness=self._thickness, trace_length=self._trace_frames, position=sv.Position.BOTTOM_CENTER,
            color_lookup=by_track,
        )  # fmt: skip
        corner = np.array([width, height])
        self._corners = {name: np.rint(zone.polygon * corner).astype(int) for name, zone in self._zones.items()}
        self._ends = {
            name: np.rint(np.array([line.start, line.end]) * corner).astype(int) for name, line in self._lines.items()
        }

    def _count(self, event: TrackEvent) -> None:
        if event.zone is not None and event.count is not None:
            self._inside[event.zone] = event.count
        if event.type is EventType.LINE_CROSSED and event.line is not None and event.direction is not None:
            self._crossed[event.line][event.direction] += 1

    def _draw_places(self, picture: Picture) -> None:
        if self._corners:
            filled = picture.copy()
            for n, corners in enumerate(self._corners.values()):
                cv2.fillPoly(filled, [corners], ZONES.by_idx(n).as_bgr())
            cv2.addWeighted(filled, FILL, picture, 1 - FILL, 0, dst=picture)
        for n, corners in enumerate(self._corners.values()):
            sv.draw_polygon(picture, corners, ZONES.by_idx(n), self._thickness)
        for start, end in self._ends.values():
            sv.draw_line(picture, sv.Point(*start), sv.Point(*end), LINES, self._thickness)

    def _name_places(self, picture: Picture) -> None:
        """A zone's name at its corner nearest to the top left, a line's where it starts, its counts on their sides."""
        for name, corners in self._corners.items():
            self._say(picture, f"{name}: {self._inside[name]}", corners[corners.sum(axis=1).argmin()])
        for name, (start, end) in self._ends.items():
            self._say(picture, name, start)
            along = (end - start) / np.linalg.norm(end - start)
            to_the_right = np.array([-along[1], along[0]]) * 2 * self._margin
            for direction, aside in (("left", -to_the_right), ("right", to_the_right)):
                self._say(picture, f"{direction}: {self._crossed[name][direction]}", (start + end) / 2 + aside)

    def _draw_tracks(self, picture: Picture) -> None:
        tracks = self._tracks
        seen = sv.Detections(xyxy=tracks.boxes, class_id=tracks.class_ids, tracker_id=tracks.track_ids)
        texts = [f"{self._names[kind]} {track}" for kind, track in zip(tracks.class_ids, tracks.track_ids, strict=True)]
        self._traces.annotate(picture, seen)
        self._boxes.annotate(picture, seen)
        self._labels.annotate(picture, seen, texts)

    def _say(self, picture: Picture, text: str, at: NDArray[Any]) -> None:
        """Writes around a point, or as near to it as is within the picture."""
        (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, self._scale, 1)
        height, width, _ = picture.shape
        half_width, half_height = text_width / 2 + self._margin, text_height / 2 + self._margin
        x = min(max(at[0], half_width), max(half_width, width - half_width))
        y = min(max(at[1], half_height), max(half_height, height - half_height))
        sv.draw_text(
            picture, text, sv.Point(x, y), INK, self._scale, 1, text_padding=self._margin // 3, background_color=PAPER
        )


@contextmanager
def _encoder(path: Path, rate: float) -> Iterator[Encode]:
    """Encodes BGR pictures with their media times; all at the size of the first."""
    size: tuple[int, int] | None = None
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001), options=OPTIONS)
            context = stream.codec_context
            context.time_base, context.color_range = Fraction(1, TICKS), ColorRange.MPEG
            context.colorspace, context.color_primaries, context.color_trc = (
                Colorspace.ITU709, ColorPrimaries.BT709, ColorTrc.BT709,
            )  # fmt: skip

            def encode(picture: Picture, pts_ns: int) -> None:
                nonlocal size
                even = picture[: picture.shape[0] & ~1, : picture.shape[1] & ~1]  # colours are shared by 2 x 2 pixels
                if size is None:
                    size = even.shape[1], even.shape[0]
                    stream.width, stream.height = size
                if (even.shape[1], even.shape[0]) != size:
                    even = cv2.resize(even, size, interpolation=cv2.INTER_AREA)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="bgr24")
                frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
                frame.pts, frame.time_base = round(pts_ns * TICKS / NS), Fraction(1, TICKS)
                container.mux(stream.encode(frame))

            yield encode
            container.mux(stream.encode())
    except av.error.FFmpegError as error:
        raise OSError(f"{path}: {error}") from None
