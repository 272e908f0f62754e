"""Weights of random bits, to measure products with."""

import math
from dataclasses import replace

import numpy as np
import torch

from slipstream.cpu_kernels import QuantType
from slipstream.gpu_kernels.device import compute_device
from slipstream.gpu_kernels.weight import (
    FloatPart,
    QuantisedPart,
    Weight,
    pack_weight,
    weight_bytes,
)

_RANDOM_ROWS = 256  # that come again and again: what rows hold does not change what they take
_CACHES = 3  # of the GPU that all weights together would fill


def sample_weights(quant_type: QuantType, rows: int, columns: int) -> list[Weight]:
    """Weights of this size, two or more, together more than the GPU's caches can hold."""
    num_random = math.gcd(rows, _RANDOM_ROWS)
    raw = np.random.default_rng(0).integers(
        0, 256, (num_random, quant_type.row_bytes(columns)), dtype=np.uint8
    )
    (part,) = pack_weight(raw, quant_type, columns).parts
    num_weights = max(2, -(-_CACHES * _cache_bytes() // weight_bytes(quant_type, rows, columns)))
    return [Weight(parts=(_repeated(part, rows),), columns=columns) for _ in range(num_weights)]


def _repeated(part: FloatPart | QuantisedPart, rows: int) -> FloatPart | QuantisedPart:
    """So many rows, a multiple of the part's, in memory of their own."""
    times = rows // part.rows
    if isinstance(part, FloatPart):
        return replace(part, rows=rows, numbers=part.numbers.repeat(times, 1))
    num_panels = len(part.planes.low)
    planes = part.planes.empty_like(times * num_panels)
    for turn in range(times):
        planes.fill(turn * num_panels, part.planes)
    return replace(part, rows=rows, planes=planes)


def _cache_bytes() -> int:
    """Of the GPU's last cache; 0 in the interpreter."""
    device = compute_device()
    if device.type == "cpu":
        return 0
    return int(torch.cuda.get_device_properties(device).L2_cache_size)
