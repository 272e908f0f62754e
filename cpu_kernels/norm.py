"""The weights of a root-mean-square norm."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class RmsNorm:
    """x * weight / sqrt(mean(x**2) + eps) of each row. Source: arXiv:1910.07467, eq. 4.

    weight : (C,) float32
    """

    weight: np.ndarray
    eps: float
