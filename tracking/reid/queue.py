"""Which frames and objects get features when there is no time for all: the newest, and the surest of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inference.features import Features

if TYPE_CHECKING:
    from ingest.frame import Frame

# A live stream's frames that wait beside the one that is worked on: answers of a detector come in pairs.
WAITING = 2
# A live frame that has waited for this long is not begun with: it would keep those behind it for too long.
BEGIN_S = 0.15
# And this is when it goes on without features, whatever is going on.
PATIENCE_S = 0.3
# What is worked on at once shall take this long, by what crops have taken of late; within these bounds of crops.
BATCH_S = 0.1
LEAST_CROPS, MOST_CROPS = 4, 64
# A crop of OSNet x0.25 on two cores, until it is known; and how much of each new figure is believed.
CROP_S, NEW_SHARE = 0.002, 0.25
# So many objects of a frame, the surest, get features.
OBJECTS = 64


@dataclass(slots=True, eq=False)
class Request:
    """A frame whose objects' features are wanted.

    Attributes:
        boxes: float32 [N, 4], xyxy in source pixels, the surest object first; the last ones go when time is short.
        since_s: when it was asked for; the clock is the caller's.
        patient: it waits for as long as it takes, as its stream is a file of which no frame may be lost.
        deliver: is given the features [N, length] of the boxes that are left, or None where there was no time; once.
    """

    stream: str
    frame: Frame
    boxes: NDArray[np.float32]
    since_s: float
    patient: bool
    deliver: Callable[[Features | None], None]


class ReidQueue:
    """Requests in the order in which they came; at most `WAITING` of a live stream, and a patient one's ring slots."""

    def __init__(self) -> None:
        self._waiting: list[Request] = []
        self._crop_s = CROP_S

    def add(self, request: Request) -> Request | None:
        """Returns the oldest of the stream, which has to go without, when too many wait."""
        self._waiting.append(request)
        own = [one for one in self._waiting if one.stream == request.stream]
        if request.patient or len(own) <= WAITING:
            return None
        self._waiting.remove(own[0])
        return own[0]

    def withdraw(self, request: Request) -> None:
        """Takes one back that may be waiting."""
        if request in self._waiting:
            self._waiting.remove(request)

    def clear(self) -> list[Request]:
        """Takes out all of them."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def take(self, now_s: float) -> tuple[list[Request], list[Request]]:
        """What to work on next, and what has waited for too long.

        That is as many frames as take `BATCH_S`; the first one in any case, with its surest objects only where all of
        them would take longer and its stream is live.
        """
        room = min(max(int(BATCH_S / self._crop_s), LEAST_CROPS), MOST_CROPS)
        late = [one for one in self._waiting if not one.patient and now_s - one.since_s > BEGIN_S]
        self._waiting = [one for one in self._waiting if one not in late]
        taken: list[Request] = []
        crops = 0
        while self._waiting and (not taken or crops + len(self._waiting[0].boxes) <= room):
            one = self._waiting.pop(0)
            if not one.patient:
                one.boxes = one.boxes[:room]
            crops += len(one.boxes)
            taken.append(one)
        return taken, late

    def took(self, crops: int, seconds: float) -> None:
        """So long did so many crops take, at least one."""
        self._crop_s += NEW_SHARE * (seconds / crops - self._crop_s)
