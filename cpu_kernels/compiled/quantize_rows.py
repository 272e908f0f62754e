"""Activations to int8, 32 columns a scale, for the dot-product kernels."""

from typing import Any

import numpy as np

from slipstream.cpu_kernels.compiled.addresses import bits_to_float32, magnitude_bits
from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.panel_format import BLOCK_COLUMNS

RECORD = 4  # float32 in a scale record: scale, scale * sums of columns 0-15, 16-31 and 0-31


@kernel(error_model="numpy")
def quantize_row(x: Any, q: Any, records: Any) -> None:
    """Quantise one row: q = round(x / scale), scale = max|x| / 127 over 32 columns.

    x       : (C,) float32
    q       : (C,) int8, written
    records : (C / 32, 4) float32, written
    NaN or infinity makes the block's scale NaN or infinite, so it shows in every product.
    """
    for b in range(x.shape[0] // BLOCK_COLUMNS):
        block = x[b * BLOCK_COLUMNS : (b + 1) * BLOCK_COLUMNS]
        largest_bits = np.int32(0)
        for i in range(BLOCK_COLUMNS):
            largest_bits = max(largest_bits, magnitude_bits(block[i]))
        largest = bits_to_float32(largest_bits)
        inverse = np.float32(127.0) / largest if largest > 0 else np.float32(0.0)
        low = np.int32(0)
        high = np.int32(0)
        for i in range(BLOCK_COLUMNS // 2):
            value = np.int32(np.rint(block[i] * inverse))
            q[b * BLOCK_COLUMNS + i] = value
            low += value
        for i in range(BLOCK_COLUMNS // 2, BLOCK_COLUMNS):
            value = np.int32(np.rint(block[i] * inverse))
            q[b * BLOCK_COLUMNS + i] = value
            high += value
        scale = largest / np.float32(127.0)
        records[b, 0] = scale
        records[b, 1] = scale * np.float32(low)
        records[b, 2] = scale * np.float32(high)
        records[b, 3] = scale * np.float32(low + high)
