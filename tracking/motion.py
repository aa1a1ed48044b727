"""Constant-velocity motion of boxes: the Kalman filter of SORT's family, in closed form.

The state is (centre x, centre y, width / height, height) and its velocities. Noise is independent per component and
nothing couples two components, so the 8 x 8 filter of the papers is four filters of a position and a velocity each, and
their matrices are the handful of products written out here. Noise weights are DeepSORT's (Wojke et al., 2017).

Time is measured in nominal frame intervals, the unit those weights are in.

`States` is float64 [N, 5, 4]: for each of N boxes its mean position, mean velocity, variance of position, covariance of
the two and variance of velocity, each by component. Boxes are xyxy [N, 4].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.compiled import compiled

States = NDArray[np.float64]
Boxes = NDArray[np.float64]
Rows = NDArray[np.intp]

POSITION, VELOCITY, PP, PV, VV = range(5)
X, Y, ASPECT, HEIGHT = range(4)

POSITION_WEIGHT = 1 / 20
VELOCITY_WEIGHT = 1 / 160
# Standard deviations of the aspect ratio and of its velocity, which do not grow with the box.
ASPECT_NOISE, ASPECT_VELOCITY_NOISE, ASPECT_MEASURED = 1e-2, 1e-5, 1e-1
SMALLEST = 1e-4


@compiled
def _deviation(component: int, height: float, weight: float, aspect: float) -> float:
    return aspect if component == ASPECT else weight * height


@compiled
def start(boxes: Boxes) -> States:
    """Boxes at rest where they were seen, with velocities to be found out."""
    states = np.zeros((len(boxes), 5, 4))
    for n in range(len(boxes)):
        _measure(boxes[n], states[n, POSITION])
        height = states[n, POSITION, HEIGHT]
        for c in range(4):
            states[n, PP, c] = _deviation(c, height, 2 * POSITION_WEIGHT, ASPECT_NOISE) ** 2
            states[n, VV, c] = _deviation(c, height, 10 * VELOCITY_WEIGHT, ASPECT_VELOCITY_NOISE) ** 2
    return states


@compiled
def predict(states: States, rows: Rows, elapsed: float) -> None:
    """Moves `rows` on by `elapsed` intervals; for whole ones exactly as that many steps of one would.

    k steps add `k q` to the variance of velocity and, through it, `q k (k - 1) / 2` to the covariance and
    `q (k - 1) k (2k - 1) / 6` to the variance of position, beside its own `k q`.
    """
    linear = max(0.0, elapsed * (elapsed - 1) / 2)
    square = max(0.0, (elapsed - 1) * elapsed * (2 * elapsed - 1) / 6)
    for n in rows:
        state = states[n]
        height = state[POSITION, HEIGHT]
        for c in range(4):
            q_position = _deviation(c, height, POSITION_WEIGHT, ASPECT_NOISE) ** 2
            q_velocity = _deviation(c, height, VELOCITY_WEIGHT, ASPECT_VELOCITY_NOISE) ** 2
            pv, vv = state[PV, c], state[VV, c]
            state[POSITION, c] += elapsed * state[VELOCITY, c]
            state[PP, c] += elapsed * (2 * pv + elapsed * vv) + elapsed * q_position + square * q_velocity
            state[PV, c] = pv + elapsed * vv + linear * q_velocity
            state[VV, c] = vv + elapsed * q_velocity
        _bound(state[POSITION])


@compiled
def correct(states: States, rows: Rows, boxes: Boxes) -> None:
    """Takes in where the boxes of `rows` were seen, one of `boxes` for each."""
    measured = np.empty(4)
    for k in range(len(rows)):
        state = states[rows[k]]
        _measure(boxes[k], measured)
        height = state[POSITION, HEIGHT]
        for c in range(4):
            pp, pv = state[PP, c], state[PV, c]
            total = pp + _deviation(c, height, POSITION_WEIGHT, ASPECT_MEASURED) ** 2
            surprise = measured[c] - state[POSITION, c]
            state[POSITION, c] += pp / total * surprise
            state[VELOCITY, c] += pv / total * surprise
            state[PP, c] = pp - pp / total * pp
            state[PV, c] = pv - pp / total * pv
            state[VV, c] -= pv / total * pv
        _bound(state[POSITION])


@compiled
def mahalanobis(states: States, boxes: Boxes) -> NDArray[np.float64]:
    """How far boxes [M, 4] are from where N objects should be, squared and in standard deviations: float64 [N, M]."""
    distances = np.zeros((len(states), len(boxes)))
    measured = np.empty(4)
    for m in range(len(boxes)):
        _measure(boxes[m], measured)
        for n in range(len(states)):
            height = states[n, POSITION, HEIGHT]
            for c in range(4):
                noise = _deviation(c, height, POSITION_WEIGHT, ASPECT_MEASURED) ** 2
                distances[n, m] += (measured[c] - states[n, POSITION, c]) ** 2 / (states[n, PP, c] + noise)
    return distances


@compiled
def boxes_of(states: States) -> Boxes:
    """Where the boxes are."""
    boxes = np.empty((len(states), 4))
    for n in range(len(states)):
        x, y, aspect, height = states[n, POSITION]
        half_width, half_height = aspect * height / 2, height / 2
        boxes[n, 0], boxes[n, 1] = x - half_width, y - half_height
        boxes[n, 2], boxes[n, 3] = x + half_width, y + half_height
    return boxes


@compiled
def _measure(box: Boxes, position: NDArray[np.float64]) -> None:
    position[X], position[Y] = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    position[HEIGHT] = box[3] - box[1]
    position[ASPECT] = (box[2] - box[0]) / max(position[HEIGHT], SMALLEST)
    _bound(position)


@compiled
def _bound(position: NDArray[np.float64]) -> None:
    position[ASPECT], position[HEIGHT] = max(position[ASPECT], SMALLEST), max(position[HEIGHT], SMALLEST)
