"""Constant-velocity motion of N boxes at once: the Kalman filter of SORT's family, in closed form.

The state is (centre x, centre y, width / height, height) and its velocities. Noise is independent per component and
nothing couples two components, so the 8 x 8 filter of the papers is four filters of a position and a velocity each, and
their matrices are the handful of products written out here. Noise weights are DeepSORT's (Wojke et al., 2017).

Time is measured in nominal frame intervals, the unit those weights are in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

POSITION_WEIGHT = 1 / 20
VELOCITY_WEIGHT = 1 / 160
ASPECT, HEIGHT = 2, 3
SMALLEST = 1e-4

Array = NDArray[np.float64]


def to_states(boxes: NDArray[np.floating]) -> Array:
    """xyxy [N, 4] as centre x, centre y, width / height, height [N, 4]."""
    states = np.empty(boxes.shape)
    size = boxes[:, 2:] - boxes[:, :2]
    states[:, :2] = boxes[:, :2] + size / 2
    states[:, HEIGHT] = np.maximum(size[:, 1], SMALLEST)
    states[:, ASPECT] = np.maximum(size[:, 0] / states[:, HEIGHT], SMALLEST)
    return states


def to_boxes(states: Array) -> Array:
    """The inverse of `to_states`."""
    half = states[:, 2:] / 2
    half[:, 0] *= states[:, HEIGHT]
    return np.concatenate([states[:, :2] - half, states[:, :2] + half], axis=1)


def _scaled(heights: Array, weight: float, aspect: float) -> Array:
    """Variances [N, 4] of noise that grows with the box's height, but for the aspect ratio's."""
    variances = np.repeat(np.square(heights * weight)[:, None], 4, axis=1)
    variances[:, ASPECT] = aspect * aspect
    return variances


@dataclass(slots=True)
class Motion:
    """States of N boxes; every field is float64 [N, 4], by component.

    Attributes:
        position, velocity: the means.
        pp, pv, vv: variance of position, covariance with velocity, variance of velocity.
    """

    position: Array
    velocity: Array
    pp: Array
    pv: Array
    vv: Array

    @classmethod
    def start(cls, boxes: NDArray[np.floating]) -> Motion:
        """At rest where the boxes [N, 4] xyxy were seen, with a velocity to be found out."""
        position = to_states(boxes)
        heights = position[:, HEIGHT]
        return cls(
            position,
            np.zeros_like(position),
            _scaled(heights, 2 * POSITION_WEIGHT, 1e-2),
            np.zeros_like(position),
            _scaled(heights, 10 * VELOCITY_WEIGHT, 1e-5),
        )

    def __len__(self) -> int:
        return len(self.position)

    def boxes(self) -> Array:
        """xyxy [N, 4]."""
        return to_boxes(self.position)

    def take(self, rows: NDArray[np.intp]) -> Motion:
        return Motion(self.position[rows], self.velocity[rows], self.pp[rows], self.pv[rows], self.vv[rows])

    def join(self, other: Motion) -> Motion:
        return Motion(
            np.concatenate([self.position, other.position]),
            np.concatenate([self.velocity, other.velocity]),
            np.concatenate([self.pp, other.pp]),
            np.concatenate([self.pv, other.pv]),
            np.concatenate([self.vv, other.vv]),
        )

    def predict(self, rows: NDArray[np.intp], elapsed: float) -> None:
        """Moves `rows` on by `elapsed` intervals; for whole ones exactly as that many steps of one would.

        k steps add `k q` to the variance of velocity and, through it, `q k (k - 1) / 2` to the covariance and
        `q (k - 1) k (2k - 1) / 6` to the variance of position, beside its own `k q`.
        """
        position, velocity = self.position[rows], self.velocity[rows]
        pp, pv, vv = self.pp[rows], self.pv[rows], self.vv[rows]
        heights = position[:, HEIGHT]
        q_position = _scaled(heights, POSITION_WEIGHT, 1e-2)
        q_velocity = _scaled(heights, VELOCITY_WEIGHT, 1e-5)
        linear = max(0.0, elapsed * (elapsed - 1) / 2)
        square = max(0.0, (elapsed - 1) * elapsed * (2 * elapsed - 1) / 6)
        position += elapsed * velocity
        np.maximum(position[:, ASPECT:], SMALLEST, out=position[:, ASPECT:])
        self.position[rows] = position
        self.pp[rows] = pp + elapsed * (2 * pv + elapsed * vv) + elapsed * q_position + square * q_velocity
        self.pv[rows] = pv + elapsed * vv + linear * q_velocity
        self.vv[rows] = vv + elapsed * q_velocity

    def correct(self, rows: NDArray[np.intp], boxes: NDArray[np.floating]) -> None:
        """Takes in where the boxes of `rows` were seen, xyxy [len(rows), 4]."""
        position, pp, pv = self.position[rows], self.pp[rows], self.pv[rows]
        innovation = to_states(boxes) - position
        total = pp + _scaled(position[:, HEIGHT], POSITION_WEIGHT, 1e-1)
        gain, gain_velocity = pp / total, pv / total
        position += gain * innovation
        np.maximum(position[:, ASPECT:], SMALLEST, out=position[:, ASPECT:])
        self.position[rows] = position
        self.velocity[rows] += gain_velocity * innovation
        self.pp[rows] = pp - gain * pp
        self.pv[rows] = pv - gain * pv
        self.vv[rows] -= gain_velocity * pv
