"""A model file's logits computed the plain way: exact weights, float64, whole texts, no cache.

Written apart from `slipstream.runtime.models`, from the papers and the file format, so that an
agreement of the two says something. Only file reading and dequantisation are shared; these have
tests of their own against the `gguf` package.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from slipstream.cpu_kernels.reference.dequantize import dequantize
from slipstream.runtime.checkpoint import ModelFile

_ROWS_AT_ONCE = 16_384  # of the output matrix: 16,384 x 1,536 float64 are 0.2 GB


def exact_logits(
    path: Path, texts: Sequence[Sequence[int]], *, kv_dtype: type[np.floating[Any]] = np.float64
) -> Iterator[np.ndarray]:
    """Logits after each token of each text: (T, V), computed in float64, rounded to float32.

    kv_dtype : what keys and values are rounded to; float16 is what a float16 cache makes of them

    All texts pass a layer together, so that one layer's weights at a time are in memory; the
    logits, which may be gigabytes, come one text at a time.
    """
    with _Weights(path, kv_dtype) as weights:
        yield from (_head(rows, weights) for rows in _final_states(weights, texts))


def exact_hidden(
    path: Path, texts: Sequence[Sequence[int]], *, kv_dtype: type[np.floating[Any]] = np.float64
) -> list[np.ndarray]:
    """What the head is given after each token of each text: (T, C) float64."""
    with _Weights(path, kv_dtype) as weights:
        return _final_states(weights, texts)


def _final_states(weights: "_Weights", texts: Sequence[Sequence[int]]) -> list[np.ndarray]:
    lengths = [len(text) for text in texts]
    ids = np.concatenate([np.asarray(text) for text in texts])
    splits = np.cumsum(lengths)[:-1]
    x = weights.matrix("token_embd", ids)
    if weights.architecture == "gemma3":
        x = x * math.sqrt(x.shape[1])
    for layer_id in range(weights.number("block_count")):
        _add_layer(x, weights, layer_id, splits)
    return np.split(_rms_norm(x, weights.vector("output_norm"), weights.eps), splits)


class _Weights:
    """Tensors in float64 and the numbers of one file."""

    def __init__(self, path: Path, kv_dtype: type[np.floating[Any]]) -> None:
        self._file = ModelFile.open(path)
        self.kv_dtype = kv_dtype
        self.architecture = self._file.architecture
        self.eps = float(self.number("attention.layer_norm_rms_epsilon"))
        self.num_heads = self.number("attention.head_count")
        self.num_kv_heads = self.number("attention.head_count_kv")
        per_head = self.number("embedding_length") // self.num_heads
        self.head_size = self.number("attention.key_length", per_head)
        self.local, self.full = self._both_angles()

    def number(self, key: str, default: Any = None) -> Any:
        value = self._file.metadata.get(f"{self.architecture}.{key}", default)
        assert value is not None, f"{self._file.path} has no {key}"
        return value

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self._file.tensors or name in self._file.tensors

    def matrix(self, name: str, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Rows of a matrix, (rows, columns)."""
        tensor = self._file.tensors[f"{name}.weight"]
        return dequantize(tensor.data[rows], tensor.quant_type, np.float64)

    def num_rows(self, name: str) -> int:
        return int(self._file.tensors[f"{name}.weight"].shape[0])

    def vector(self, name: str) -> np.ndarray:
        tensor = self._file.tensors[name if name.endswith(".bias") else f"{name}.weight"]
        return dequantize(tensor.data, tensor.quant_type, np.float64).reshape(-1)

    def _both_angles(self) -> tuple["_Rope", "_Rope"]:
        """Frequencies of layers with a window, and of the others."""
        base = self.number("rope.freq_base", 10_000.0)
        dims = self.number("rope.dimension_count", self.head_size)
        factor = self.number("rope.scaling.factor", 1.0)
        frequencies = np.asarray([base ** (-2 * i / dims) for i in range(dims // 2)])
        if self.has("rope_freqs"):
            frequencies /= self.vector("rope_freqs")
        pairs_are_neighbours = self.architecture == "llama"
        magnitude = 1.0
        if self.number("rope.scaling.type", "none") == "yarn":
            original = self.number("rope.scaling.original_context_length")
            share = _interpolated_share(dims, base, original)
            frequencies *= share / factor + (1 - share)
            magnitude = 0.1 * math.log(factor) + 1
        else:
            frequencies /= factor
        full = _Rope(frequencies, magnitude, pairs_are_neighbours)
        if self.architecture != "gemma3":
            return full, full
        local = np.asarray([10_000.0 ** (-2 * i / dims) for i in range(dims // 2)])
        return _Rope(local, 1.0, pairs_are_neighbours), full

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _interpolated_share(dims: int, base: float, original: int) -> np.ndarray:
    """YaRN's ramp over dimension pairs: 0 where 32 or more turns fit, 1 below one turn.

    Source: arXiv:2309.00071, section 3.2, as the published models implement it: linear in the
    index of the pair, between the rounded indices at which the turns are 32 and 1.
    """

    def pair_with(turns: float) -> float:
        return dims * math.log(original / (2 * math.pi * turns)) / (2 * math.log(base))

    first = max(math.floor(pair_with(32.0)), 0)
    last = min(math.ceil(pair_with(1.0)), dims - 1)
    return np.clip((np.arange(dims // 2) - first) / max(last - first, 1e-3), 0, 1)


class _Rope:
    """Turns pairs as complex numbers: (a + bi) * exp(i * position * frequency)."""

    def __init__(self, frequencies: np.ndarray, magnitude: float, neighbours: bool) -> None:
        self._frequencies = frequencies
        self._magnitude = magnitude
        self._neighbours = neighbours

    def rotate(self, x: np.ndarray) -> np.ndarray:
        """x: (T, H, D) of positions 0 to T - 1."""
        half = len(self._frequencies)
        head, rest = x[..., : 2 * half], x[..., 2 * half :]
        pairs = head.reshape(*head.shape[:-1], half, 2)
        if not self._neighbours:
            pairs = np.swapaxes(head.reshape(*head.shape[:-1], 2, half), -1, -2)
        angles = np.outer(np.arange(len(x)), self._frequencies)[:, None, :]
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * (self._magnitude * np.exp(1j * angles))
        turned_pairs = np.stack([turned.real, turned.imag], axis=-1)
        if not self._neighbours:
            turned_pairs = np.swapaxes(turned_pairs, -1, -2)
        return np.concatenate([turned_pairs.reshape(head.shape), rest], axis=-1)


def _rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return weight * (x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps))


def _add_layer(x: np.ndarray, weights: _Weights, layer_id: int, splits: np.ndarray) -> None:
    """Add one layer's two blocks to the residual stream x, (sum of T, C)."""
    name = f"blk.{layer_id}"
    for norm, post_norm, block in (
        ("attn_norm", "post_attention_norm", _attention_block),
        ("ffn_norm", "post_ffw_norm", _feed_forward_block),
    ):
        h = _rms_norm(x, weights.vector(f"{name}.{norm}"), weights.eps)
        h = block(h, weights, layer_id, splits)
        if weights.has(f"{name}.{post_norm}"):
            h = _rms_norm(h, weights.vector(f"{name}.{post_norm}"), weights.eps)
        x += h


def _attention_block(
    h: np.ndarray, weights: _Weights, layer_id: int, splits: np.ndarray
) -> np.ndarray:
    name = f"blk.{layer_id}.attn"
    windowed = weights.architecture == "gemma3" and layer_id % 6 != 5
    window = weights.number("attention.sliding_window") if windowed else None
    rope = weights.local if windowed else weights.full
    heads = {}
    for which, num_heads in (
        ("q", weights.num_heads),
        ("k", weights.num_kv_heads),
        ("v", weights.num_kv_heads),
    ):
        y = h @ weights.matrix(f"{name}_{which}").T
        if weights.has(f"{name}_{which}.bias"):
            y += weights.vector(f"{name}_{which}.bias")
        y = y.reshape(len(h), num_heads, weights.head_size)
        if weights.has(f"{name}_{which}_norm"):
            y = _rms_norm(y, weights.vector(f"{name}_{which}_norm"), weights.eps)
        heads[which] = np.split(y, splits)
    attended = [
        _attend(
            rope.rotate(q),
            rope.rotate(k).astype(weights.kv_dtype).astype(np.float64),
            v.astype(weights.kv_dtype).astype(np.float64),
            window,
        )
        for q, k, v in zip(heads["q"], heads["k"], heads["v"], strict=True)
    ]
    return np.concatenate(attended) @ weights.matrix(f"{name}_output").T


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, window: int | None) -> np.ndarray:
    """softmax(q k / sqrt(D)) v over the keys j with 0 <= i - j < window: (T, H * D)."""
    length, num_heads, head_size = q.shape
    distance = np.subtract.outer(np.arange(length), np.arange(length))
    hidden = (distance < 0) | (distance >= (window or length))
    out = np.empty_like(q)
    for head in range(num_heads):
        shared = head // (num_heads // k.shape[1])
        scores = q[:, head] @ k[:, shared].T / math.sqrt(head_size)
        scores[hidden] = -np.inf
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        out[:, head] = weights @ v[:, shared] / weights.sum(axis=1, keepdims=True)
    return out.reshape(length, -1)


def _feed_forward_block(
    h: np.ndarray, weights: _Weights, layer_id: int, splits: np.ndarray
) -> np.ndarray:
    name = f"blk.{layer_id}.ffn"
    gate = h @ weights.matrix(f"{name}_gate").T
    if weights.architecture == "gemma3":
        cubic = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)
        gate = 0.5 * gate * (1 + np.tanh(cubic))
    else:
        gate = gate * 0.5 * (1 + np.tanh(gate / 2))  # x * sigmoid(x), without overflow
    return (gate * (h @ weights.matrix(f"{name}_up").T)) @ weights.matrix(f"{name}_down").T


def _head(x: np.ndarray, weights: _Weights) -> np.ndarray:
    """(T, V) float32."""
    name = "output" if weights.has("output") else "token_embd"
    num_rows = weights.num_rows(name)
    logits = np.empty((len(x), num_rows), np.float32)
    for first in range(0, num_rows, _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        logits[:, rows] = x @ weights.matrix(name, rows).T
    return logits
