"""Random weights in any storage type, with scales such as a real model has."""

import gguf
import numpy as np

from slipstream.cpu_kernels.quant_types import QuantType

# Where each type keeps its float16 scale, where its float16 minimum, and how many scales the
# minimum must be for the values to have a mean near zero. MXFP4 and the plain types have neither.
_SCALE_FIELDS: dict[QuantType, tuple[int, int | None, float]] = {
    QuantType.Q4_0: (0, None, 0.0),
    QuantType.Q4_1: (0, 2, -7.5),
    QuantType.Q5_0: (0, None, 0.0),
    QuantType.Q5_1: (0, 2, -15.5),
    QuantType.Q8_0: (0, None, 0.0),
    QuantType.Q2_K: (80, 82, 1.5),
    QuantType.Q3_K: (108, None, 0.0),
    QuantType.Q4_K: (0, 2, 7.5),
    QuantType.Q5_K: (0, 2, 15.5),
    QuantType.Q6_K: (208, None, 0.0),
    QuantType.IQ4_NL: (0, None, 0.0),
    QuantType.IQ4_XS: (0, None, 0.0),
}


def random_rows(
    quant_type: QuantType, rows: int, columns: int, rng: np.random.Generator, *, std: float = 1.0
) -> np.ndarray:
    """Stored bytes, uint8 (rows, row_bytes), whose values have about this standard deviation.

    Every code, sub-scale and high bit is random. Block scales differ by up to a factor of two.
    """
    if quant_type in (QuantType.F32, QuantType.F16, QuantType.BF16):
        values = rng.normal(0.0, std, (rows, columns)).astype(np.float32)
        return gguf.quants.quantize(values, _ggml_type(quant_type)).view(np.uint8)
    raw = rng.integers(0, 256, (rows, quant_type.row_bytes(columns)), np.uint8)
    blocks = raw.reshape(-1, quant_type.block_bytes)
    if quant_type is QuantType.MXFP4:
        # Codes have a standard deviation of about 2.8 times 2 ** (e - 127).
        exponent = int(np.round(np.log2(std / 2.8)))
        blocks[:, 0] = 127 + exponent + rng.integers(-1, 2, len(blocks))
        return raw
    _set_scales(blocks, quant_type, np.ones(len(blocks)))
    unscaled_std = gguf.quants.dequantize(raw, _ggml_type(quant_type)).std()
    _set_scales(blocks, quant_type, rng.uniform(0.7, 1.4, len(blocks)) * std / unscaled_std)
    return raw


def _set_scales(blocks: np.ndarray, quant_type: QuantType, scales: np.ndarray) -> None:
    scale_at, minimum_at, ratio = _SCALE_FIELDS[quant_type]
    blocks[:, scale_at : scale_at + 2] = scales.astype("<f2")[:, None].view(np.uint8)
    if minimum_at is not None:
        minimums = (ratio * scales).astype("<f2")
        blocks[:, minimum_at : minimum_at + 2] = minimums[:, None].view(np.uint8)


def _ggml_type(quant_type: QuantType) -> gguf.GGMLQuantizationType:
    return gguf.GGMLQuantizationType(quant_type.value)
