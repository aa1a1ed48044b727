"""The pictures of one stream with what was seen drawn on them: made small, drawn on, encoded once for all viewers.

Measured with eight objects, milliseconds of CPU a picture to make it small, draw and encode: 1.3, 0.4 and 3.7 from
1920x1080 to 960x540; 1.8, 0.7 and 7.7 from 3840x2160 to 1280x720. Beside the loop, in the studio's threads; the loop
keeps one picture waiting, the newest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import structlog

from ingest.frame import Frame
from ingest.sampling import Sampler
from ingest.shrink import Shrinker
from publish.preview.annotate import Annotator, Rules
from publish.preview.encode import Encoded, Encoder, EncoderError, Wish
from publish.preview.studio import Studio
from publish.preview.wire import Watch
from publish.schema import FrameResult

log = structlog.get_logger()

# A picture that is smaller by up to so much is taken where the camera's size is a multiple of it: from 1920x1080 it
# takes 1.0 ms to 960x540 and 1.9 ms to 1280x720, from 3840x2160 0.7 ms to 1280x720 and 3.1 ms to 1000x562.
SMALLER = 0.75
LEAST_SIDE_PX = 16


@dataclass(frozen=True, slots=True)
class Made:
    """A frame's picture; `encoded` is None when it could not be made, and `error` says why no more of them can."""

    frame: Frame
    codec: str
    encoded: Encoded | None
    error: EncoderError | None = None


def preview_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Width and height of the picture that is made of one: even, and no larger than either, but for the tiniest."""
    longer = max(width, height)
    times = -(-longer // max_side)
    whole = width // times, height // times
    exact = whole[0] * times == width and whole[1] * times == height and whole[0] % 2 == whole[1] % 2 == 0
    if exact and max(whole) >= SMALLER * min(max_side, longer):
        return whole
    most = min(max_side, longer)
    across, down = (max(LEAST_SIDE_PX, side * most // longer // 2 * 2) for side in (width, height))
    return across, down


class Burned:
    """Of one stream, from when it is first watched until it is not. Used in the worker's loop, but for `_make`.

    Attributes:
        frame_rate: about how many frames a second are told of: what the encoder can count on.
    """

    def __init__(
        self, watch: Watch, rules: Rules, frame_rate: float, studio: Studio, call: Callable[..., object],
        deliver: Callable[[Made], None], observe: Callable[[float, float], None], dropped: Callable[[], None],
    ) -> None:  # fmt: skip
        """`deliver` gets pictures in the loop, into which `call` calls; `observe`, in the studio's threads, the seconds
        and the CPU seconds that each took; `dropped` hears of those for which there was no time."""
        self.frame_rate = frame_rate
        self._watch = watch
        self._rules = rules
        self._studio = studio
        self._call = call
        self._deliver = deliver
        self._observe = observe
        self._dropped = dropped
        self._sampler = Sampler(watch.fps)
        self._session: int | None = None
        self._waiting: tuple[Frame, FrameResult | None] | None = None
        self._busy = self._wants_key = self._closed = False
        # The thread's:
        self._annotator = Annotator(rules)
        self._drawn_session: int | None = None
        self._shrinker = Shrinker()
        self._encoder: Encoder | None = None
        self._failing = False
        studio.take_place()

    def follow(self, watch: Watch) -> None:
        """The view is to be as said here from now on."""
        if watch.fps != self._watch.fps:
            self._sampler = Sampler(watch.fps)
        self._watch = watch

    def want_key(self) -> None:
        """The next picture is to be a key frame."""
        self._wants_key = True

    def told(self, frame: Frame, result: FrameResult | None) -> None:
        """A frame, and what was seen in it, if anything was said of it."""
        if frame.session != self._session:
            self._session, self._wants_key = frame.session, True
            self._sampler = Sampler(self._watch.fps)
        if not self._sampler.takes(frame.pts_ns):
            return
        if not self._busy:
            self._begin(frame, result)
            return
        if self._waiting is not None:
            self._dropped()
        self._waiting = frame, result

    def close(self) -> None:
        """Nobody watches any more."""
        self._closed, self._waiting = True, None
        self._studio.give_back()

    def _begin(self, frame: Frame, result: FrameResult | None) -> None:
        key, self._wants_key = self._wants_key, False
        self._busy = True
        width, height = preview_size(frame.width, frame.height, self._watch.max_side)
        wish = Wish(width, height, min(self._watch.fps, self.frame_rate), self._watch.bitrate)
        self._studio.submit(partial(self._make, frame, result, wish, key))

    def _made(self, made: Made) -> None:
        self._busy = False
        if self._closed:
            return
        self._wants_key |= made.encoded is None
        if self._waiting is not None:
            (frame, result), self._waiting = self._waiting, None
            self._begin(frame, result)
        self._deliver(made)

    # -- in the studio's threads

    def _make(self, frame: Frame, result: FrameResult | None, wish: Wish, key: bool) -> None:
        began, cpu_began = time.perf_counter(), time.thread_time()
        encoded = error = None
        try:
            encoded = self._draw_and_encode(frame, result, wish, key)
        except EncoderError as failure:
            error = failure
        except Exception:  # one stream's picture must not end the threads that all have
            if not self._failing:
                log.exception("no picture for viewers", stream=frame.stream)
        self._failing = encoded is None
        self._observe(time.perf_counter() - began, time.thread_time() - cpu_began)
        self._call(self._made, Made(frame, self._encoder.codec if self._encoder else "", encoded, error))

    def _draw_and_encode(self, frame: Frame, result: FrameResult | None, wish: Wish, key: bool) -> Encoded | None:
        picture = np.empty((wish.height, wish.width, 3), np.uint8)
        frame.shrink(self._shrinker, picture, (0, 0, wish.width, wish.height))
        if frame.session != self._drawn_session:
            self._drawn_session, self._annotator = frame.session, Annotator(self._rules)
        self._annotator.annotate(picture, result)
        if self._encoder is None:
            self._encoder = Encoder(wish)
        else:
            self._encoder.follow(wish)
        return self._encoder.encode(picture, key)
