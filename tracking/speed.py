"""How fast and where to a track moves: the slope of a straight line through its last places, by media time.

The line is fitted by least squares, with weights that fall by 1 / e in `MEMORY_S`: an object at a steady speed has
exactly that, whatever the frame rate and however many frames are missing. Of a sudden change four fifths are known
after three times `MEMORY_S`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ingest.compiled import compiled

MEMORY_S = 0.5
# Before that much was seen of it, nothing is said.
LEAST_S, LEAST_TIMES = 0.5, 3
# After a longer gap it begins anew.
GAP_S = 2.0
# Slower than this nothing goes anywhere: m/s, and picture heights a second.
STILL_MPS, STILL_HEIGHTS = 0.2, 0.01

UNKNOWN_SPEED = -1.0
# Columns: speed (negative: unknown) and its parts; when last seen, seconds seen so far, times seen, and the sums of the
# weights, and of those times t, t², x, tx, y and ty, where t is from when it was last seen.
SPEED, VX, VY, AT, SPAN, TIMES, S0, ST, STT, SX, STX, SY, STY = range(13)
FITTED = 13


@compiled
def forget(fit: NDArray[np.float64]) -> None:
    """Begins anew."""
    fit[:] = 0.0
    fit[SPEED] = UNKNOWN_SPEED


@compiled
def observe_place(fit: NDArray[np.float64], x: float, y: float, at_s: float) -> None:
    """Takes another place, and when that was, in seconds of media time."""
    if at_s - fit[AT] > GAP_S:
        forget(fit)
    elapsed = at_s - fit[AT] if fit[TIMES] > 0 else 0.0
    fit[AT] = at_s
    fades = math.exp(-elapsed / MEMORY_S)
    fit[SPAN] += elapsed
    fit[TIMES] += 1
    fit[STT] = fades * (fit[STT] - 2 * elapsed * fit[ST] + elapsed * elapsed * fit[S0])
    fit[STX] = fades * (fit[STX] - elapsed * fit[SX])
    fit[STY] = fades * (fit[STY] - elapsed * fit[SY])
    fit[ST] = fades * (fit[ST] - elapsed * fit[S0])
    fit[S0], fit[SX], fit[SY] = fades * fit[S0] + 1, fades * fit[SX] + x, fades * fit[SY] + y
    spread = fit[S0] * fit[STT] - fit[ST] ** 2
    if fit[SPAN] >= LEAST_S and fit[TIMES] >= LEAST_TIMES and spread > 0:
        fit[VX] = (fit[S0] * fit[STX] - fit[ST] * fit[SX]) / spread
        fit[VY] = (fit[S0] * fit[STY] - fit[ST] * fit[SY]) / spread
        fit[SPEED] = math.hypot(fit[VX], fit[VY])


def heading(vx: float, vy: float) -> float:
    """Degrees from straight up (or along the ground's y) clockwise, in [0, 360)."""
    return math.degrees(math.atan2(vx, vy)) % 360.0 % 360.0  # a tiny negative angle is 360 after the first
