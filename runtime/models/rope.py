"""Rotary position embedding: the angles of each position, with the scalings that files declare."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import CheckpointError, UnsupportedError


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How positions beyond the original context are fitted in.

    kind : "none"; "linear" divides positions by `factor`; "yarn" does so for slow frequencies only
           (arXiv:2309.00071, section 3.2). The llama3 scaling comes as a tensor of divisors.
    """

    kind: str = "none"
    factor: float = 1.0
    original_context: int = 0
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    extrapolation: float = 1.0

    KEYS: ClassVar[tuple[str, ...]] = (
        "rope.scale_linear",
        "rope.scaling.type",
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.attn_factor",
        "rope.scaling.yarn_ext_factor",
        "rope.scaling.yarn_attn_factor",
        "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
    )

    @classmethod
    def from_file(cls, file: ModelFile) -> "RopeScaling":
        """Raises UnsupportedError for a scaling that is not implemented."""
        prefix = f"{file.architecture}.rope"
        legacy = file.get_float(f"{prefix}.scale_linear", 1.0)
        factor = file.get_float(f"{prefix}.scaling.factor", legacy)
        kind = file.get_str(f"{prefix}.scaling.type", "none" if factor == 1.0 else "linear")
        if kind not in ("none", "linear", "yarn"):
            raise UnsupportedError(f"{file.path}: RoPE scaling {kind!r} is not implemented")
        if not 0 < factor < math.inf:
            raise CheckpointError(f"{file.path}: RoPE scaling factor {factor} is not positive")
        attention = file.get_float(f"{prefix}.scaling.attn_factor", 1.0)
        scaling = cls(
            kind=kind,
            factor=1.0 if kind == "none" else factor,
            original_context=file.get_int(
                f"{prefix}.scaling.original_context_length",
                file.get_int(f"{file.architecture}.context_length"),
                minimum=1,
            ),
            attention_factor=file.get_float(f"{prefix}.scaling.yarn_attn_factor", attention),
            beta_fast=file.get_float(f"{prefix}.scaling.yarn_beta_fast", 32.0),
            beta_slow=file.get_float(f"{prefix}.scaling.yarn_beta_slow", 1.0),
            extrapolation=file.get_float(f"{prefix}.scaling.yarn_ext_factor", 1.0),
        )
        positive = (scaling.attention_factor, scaling.beta_fast, scaling.beta_slow)
        if min(positive) <= 0 or not 0 <= scaling.extrapolation <= 1 or factor < 1e-3:
            raise CheckpointError(f"{file.path}: senseless RoPE scaling, {scaling}")
        return scaling


class RopeTable:
    """Cosines and sines of position times frequency, for the positions of a step."""

    def __init__(
        self,
        dimensions: int,
        base: float,
        scaling: RopeScaling,
        divisors: np.ndarray | None = None,
        *,
        interleaved: bool,
    ) -> None:
        """`divisors` (dimensions / 2,) divide the frequencies: the llama3 scaling.

        Raises CheckpointError for divisors that are not positive.
        """
        if divisors is not None and not (np.isfinite(divisors) & (divisors > 0)).all():
            raise CheckpointError("rope_freqs.weight: expected positive numbers")
        self.interleaved = interleaved
        exponents = np.arange(0, dimensions, 2) / dimensions
        frequencies = base**-exponents / (1.0 if divisors is None else divisors)
        self._frequencies = frequencies / scaling.factor
        self._magnitude = scaling.attention_factor if scaling.kind == "yarn" else 1.0
        if scaling.kind == "yarn" and scaling.extrapolation:
            keep = scaling.extrapolation * _kept_share(dimensions, base, scaling)
            self._frequencies = self._frequencies * (1 - keep) + frequencies * keep
            self._magnitude *= 1.0 + 0.1 * math.log(scaling.factor)

    def angles(self, positions: np.ndarray) -> np.ndarray:
        """Cosines and sines, (2, M, dimensions / 2) float32, of `positions` (M,)."""
        angles = positions[:, None].astype(np.float64) * self._frequencies
        both = np.empty((2, *angles.shape), np.float32)
        both[0] = np.cos(angles) * self._magnitude
        both[1] = np.sin(angles) * self._magnitude
        return both


def _kept_share(dimensions: int, base: float, scaling: RopeScaling) -> np.ndarray:
    """Share of each frequency that is not slowed down: 1 for fast ones, 0 for slow ones.

    The ramp runs between the dimensions that turn `beta_fast` and `beta_slow` times over the
    original context (arXiv:2309.00071, eq. 17-18).
    """

    def dimension(turns: float) -> float:
        wavelengths = scaling.original_context / (turns * 2 * math.pi)
        return dimensions * math.log(wavelengths) / (2 * math.log(base))

    low = max(0.0, math.floor(dimension(scaling.beta_fast)))
    high = min(dimensions - 1.0, math.ceil(dimension(scaling.beta_slow)))
    ramp = (np.arange(dimensions // 2) - low) / max(0.001, high - low)
    kept: np.ndarray = 1.0 - np.clip(ramp, 0.0, 1.0)
    return kept
