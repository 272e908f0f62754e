"""A trained draft in its safetensors file: checked, and as tensors that the backends can pack."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.checkpoint import Tensor
from slipstream.runtime.dovetail.config import DovetailConfig
from slipstream.runtime.errors import CheckpointError

HEAD_TOKENS = "head_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftFile:
    """What a draft's file holds.

    tensors     : matrices rounded to Q8_0, vectors float32
    head_tokens : (N,) int32, the tokens that it scores: their rows of the target's head
    """

    path: Path
    config: DovetailConfig
    tensors: Mapping[str, Tensor]
    head_tokens: np.ndarray
    architecture: str = "dovetail"

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the file whole. Raises CheckpointError when it is missing or damaged."""
        arrays, metadata = _read(path)
        config = DovetailConfig.from_metadata(metadata, path)
        head_tokens = arrays.pop(HEAD_TOKENS, None)
        if head_tokens is None or not _are_tokens(head_tokens, config.vocab_size):
            raise CheckpointError(
                f"{path}: {HEAD_TOKENS} should be different token ids below {config.vocab_size}, "
                "as int32; the draft is damaged: fetch or train it again"
            )
        _check_sizes(path, config, arrays)
        tensors = {name: _tensor(path, name, values) for name, values in arrays.items()}
        return cls(path=path, config=config, tensors=tensors, head_tokens=head_tokens)

    def drop_pages(self) -> None:
        """Nothing is mapped."""


def write_draft(
    path: Path, config: DovetailConfig, arrays: Mapping[str, np.ndarray], head_tokens: np.ndarray
) -> None:
    """Write a draft whole or not at all: matrices (rows, columns) float16, vectors float32."""
    from safetensors.numpy import save_file

    part = path.with_name(path.name + ".part")
    stored = {
        name: np.ascontiguousarray(values, np.float16 if values.ndim == 2 else np.float32)
        for name, values in arrays.items()
    }
    stored[HEAD_TOKENS] = np.ascontiguousarray(head_tokens, np.int32)
    save_file(stored, part, metadata=config.to_metadata())
    part.replace(path)


def _read(path: Path) -> tuple[dict[str, np.ndarray], Mapping[str, str] | None]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; expected a draft in safetensors format")
    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); the draft is damaged: fetch or train "
            "it again"
        ) from None


def _are_tokens(ids: np.ndarray, vocab_size: int) -> bool:
    if ids.dtype != np.int32 or ids.ndim != 1 or not len(ids):
        return False
    return bool(ids.min() >= 0 and ids.max() < vocab_size and len(np.unique(ids)) == len(ids))


def _check_sizes(path: Path, config: DovetailConfig, arrays: Mapping[str, np.ndarray]) -> None:
    """Before anything is planned by the config's numbers."""
    attention_size = config.num_heads * config.head_size
    for block in range(config.num_blocks):
        for name, rows in (("attn_q", attention_size), ("ffn_up", config.feed_forward_size)):
            name, shape = f"blk.{block}.{name}.weight", (rows, config.hidden_size)
            if name not in arrays or arrays[name].shape != shape:
                got = arrays[name].shape if name in arrays else "nothing"
                raise CheckpointError(
                    f"{path}: {name} should have the shape {shape}, got {got}; the draft is "
                    "damaged: fetch or train it again"
                )


def _tensor(path: Path, name: str, values: np.ndarray) -> Tensor:
    expected = {1: np.float32, 2: np.float16}.get(values.ndim)
    if values.dtype != expected or not values.size:
        raise CheckpointError(
            f"{path}: {name} should be a float16 matrix or a float32 vector, is {values.dtype} "
            f"{values.shape}"
        )
    if not np.isfinite(values).all():
        raise CheckpointError(
            f"{path}: {name} has values that are no numbers; the draft is damaged"
        )
    values = values.astype(np.float32)
    if values.ndim == 1:
        data = values.view(np.uint8).reshape(1, -1)
        return Tensor(name=name, quant_type=QuantType.F32, shape=values.shape, data=data)
    if values.shape[1] % QuantType.Q8_0.block_columns:
        raise CheckpointError(f"{path}: {name} has {values.shape[1]} columns, no multiple of 32")
    data = round_to_q8_0(values)
    return Tensor(name=name, quant_type=QuantType.Q8_0, shape=values.shape, data=data)


def round_to_q8_0(values: np.ndarray) -> np.ndarray:
    """Stored rows (N, row_bytes) uint8 of (N, C) float32: int8 and one scale for 32 columns."""
    size = QuantType.Q8_0.block_columns
    blocks = values.reshape(-1, size)
    scales = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype(np.float16)
    inverse = np.divide(1.0, scales, out=np.zeros(scales.shape, np.float32), where=scales > 0)
    quants = np.clip(np.rint(blocks * inverse), -127, 127).astype(np.int8)
    rows = np.hstack([scales.view(np.uint8), quants.view(np.uint8)])
    return rows.reshape(len(values), -1)
