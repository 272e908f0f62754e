"""A measured function of one number, between and beyond the points at which it was measured."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Curve:
    """Values at increasing points; exact there, never decreasing.

    Between and beyond the points as `interpolated`. Raises ValueError for points that don't
    increase, and for values that decrease or are not positive numbers.
    """

    points: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.points) != len(self.values) or len(self.points) < 2:
            raise ValueError(
                f"a curve needs two points at least and a value for each; got {len(self.points)} "
                f"points and {len(self.values)} values"
            )
        if list(self.points) != sorted(set(self.points)) or self.points[0] < 0:
            raise ValueError(f"the points of a curve must increase; got {self.points}")
        if not all(math.isfinite(value) and value > 0 for value in self.values):
            raise ValueError(f"the values of a curve must be positive; got {self.values}")
        if list(self.values) != sorted(self.values):
            raise ValueError(f"the values of a curve must not decrease; got {self.values}")

    def __call__(self, point: float) -> float:
        """The value at `point`."""
        return interpolated(self.points, self.values, point)


def interpolated(points: Sequence[int], values: Sequence[float], point: float) -> float:
    """The value at `point` of a function that is known at two increasing points or more.

    Linear between two points, the first value below the first point, and beyond the last point
    linear with the slope of the last stretch.
    """
    if point <= points[0]:
        return values[0]
    after = min(bisect_right(points, point), len(points) - 1)
    left, right = points[after - 1], points[after]
    low, high = values[after - 1], values[after]
    if point == right:
        return high
    return low + (high - low) * ((point - left) / (right - left))


def without_decrease(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Each value lowered to the least of those after it, along every axis.

    More work never takes less time, and other programs only make a measurement longer: where a
    later value is smaller, the earlier one was measured in a bad moment.
    """
    lowered = np.asarray(values, dtype=np.float64)
    for axis in range(lowered.ndim):
        lowered = np.flip(np.minimum.accumulate(np.flip(lowered, axis), axis), axis)
    return lowered
