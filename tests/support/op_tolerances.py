"""How far a backend's result may be from the reference's: one table for every op and dtype."""

from collections.abc import Mapping

import numpy as np

from slipstream.cpu_kernels import QuantType

__all__ = ["LIMITS", "MATMUL_ROUNDED", "assert_close", "error", "matmul_limit"]

# Largest max |got - want| / rms(want). Every op but the quantised matrix product differs from the
# reference only by float32 rounding.
LIMITS: Mapping[str, float] = {
    "attention": 1e-5,
    "gated_activation": 2e-6,
    "matmul": 5e-6,
    # Against exact activations. Rounding them to int8 moves a sum by about 0.5 % of its standard
    # deviation, and the largest of a few thousand sums by four times that.
    "matmul_quantised": 0.03,
    "rms_norm": 3e-6,
    "rope": 5e-7,
}
# Against activations that are rounded as the backend documents it.
MATMUL_ROUNDED = 5e-6


def matmul_limit(quant_type: QuantType) -> float:
    """The limit of a product with weights of this type, against exact activations."""
    return LIMITS["matmul" if quant_type.block_columns == 1 else "matmul_quantised"]


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
