"""How far a backend's result may be from the reference's: one table for every op and dtype."""

from collections.abc import Mapping

import numpy as np

from slipstream.cpu_kernels import KVPages, QuantType
from support.stored_keys import arrays_of

# Largest max |got - want| / rms(want). Where numbers are not rounded to int8 on the way, an op
# differs from the reference only by float32 rounding.
LIMITS: Mapping[str, float] = {
    "attention": 1e-5,
    # Against exact queries, with scores of a standard deviation of 1/4. Rounding queries to int8
    # moves a score by some thousandths, and the output by as much of the spread of the values.
    "attention_quantised": 0.03,
    "blend_gated": 1e-6,
    # What a product is taken of, with an activation.
    "gated_activation": 2e-6,
    "matmul": 5e-6,
    # Against exact activations. Rounding them to int8 moves a sum by about 0.5 % of its standard
    # deviation, and the largest of a few thousand sums by four times that.
    "matmul_quantised": 0.03,
    "rms_norm": 3e-6,
    "rotate_and_store": 5e-7,
    "rotate_and_store_normed": 3e-6,
}
# Against activations or queries that are rounded as the backend documents it.
MATMUL_ROUNDED = 5e-6
ATTENTION_ROUNDED = 1e-5


def matmul_limit(quant_type: QuantType) -> float:
    """The limit of a product with weights of this type, against exact activations."""
    return LIMITS["matmul" if quant_type.block_columns == 1 else "matmul_quantised"]


def attention_limit(dtype: str) -> float:
    """The limit of attention over pages of this type, against exact queries."""
    return LIMITS["attention" if dtype == "float16" else "attention_quantised"]


def error(got: np.ndarray, want: np.ndarray) -> float:
    """max |got - want| / rms(want), in float64; infinite for NaN, or for any error of zeros."""
    assert got.shape == want.shape
    if want.size == 0:
        return 0.0
    wide = want.astype(np.float64)
    peak = np.abs(wide).max()
    difference = np.abs(got.astype(np.float64) - wide).max()
    if peak == 0:
        return 0.0 if difference == 0 else np.inf
    size = float(np.sqrt(np.mean((wide / peak) ** 2))) * peak  # squares of 1e-200 would vanish
    return float(difference) / size if np.isfinite(difference) else np.inf


def assert_close(got: np.ndarray, want: np.ndarray, limit: float, what: str = "") -> None:
    """Fail unless the error is within the limit."""
    found = error(got, want)
    assert found <= limit, f"{what}: error {found:.3g}, limit {limit:.3g}"


def assert_pages_close(got: KVPages, want: KVPages, limit: float) -> None:
    """Fail unless the pages hold the same numbers but for rounding of numbers within the limit.

    Float16 numbers and scales may lie one step further apart, int8 and int4 numbers one quant, and
    those only where the rounding fell on another side.
    """
    for name, array in arrays_of(want).items():
        found = getattr(got, name)
        assert found.shape == array.shape
        if array.dtype == np.float16:
            wide = array.astype(np.float64)
            allowed = np.spacing(np.abs(array)).astype(np.float64)
            allowed += limit * np.sqrt(np.mean(wide**2))
            assert (np.abs(found.astype(np.float64) - wide) <= allowed).all(), name
        else:
            steps = np.abs(_integers(found, want.bits) - _integers(array, want.bits))
            if want.bits == 8:
                steps = np.minimum(steps, 256 - steps)  # from 0 to -1
            assert steps.max(initial=0) <= 1, name
            assert steps.mean() <= 1e-3, name


def _integers(array: np.ndarray, bits: int) -> np.ndarray:
    """The unsigned numbers of `bits` bits in an array, in some order."""
    stored = array.view(np.uint8).astype(int)
    return stored if bits == 8 else np.stack([stored & 15, stored >> 4])


def spread_error(got: np.ndarray, want: np.ndarray) -> float:
    """Root-mean-square of got - want over the standard deviation of want."""
    return float(np.sqrt(np.mean((got - want) ** 2)) / want.std())
