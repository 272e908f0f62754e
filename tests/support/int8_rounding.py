"""Numbers rounded to int8, 32 a scale, as compiled/packed_rows.py documents."""

import numpy as np


def rounded_to_int8(x: np.ndarray) -> np.ndarray:
    """x (..., C) float32: what is left of it, float64; q = round(x / scale), scale = max|x| / 127.

    Scales and what is divided by them are float32, as in the kernels.
    """
    blocks = x.reshape(*x.shape[:-1], -1, 32)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    inverse = np.where(largest > 0, np.float32(127) / np.where(largest > 0, largest, 1), 0)
    quants = np.rint(blocks * inverse.astype(np.float32))
    return (quants.astype(np.float64) * (largest / np.float32(127))).reshape(x.shape)
