"""Random Dovetail drafts of tiny models, and their computation in float64, written apart."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.dovetail import DovetailConfig
from slipstream.runtime.dovetail.draft_file import write_draft
from slipstream.runtime.models import read_model_config

Arrays = Mapping[str, np.ndarray]


def write_tiny_draft(
    path: Path, target: Path, *, blocks: int = 1, window: int = 24, num_tokens: int = 90
) -> tuple[DovetailConfig, dict[str, np.ndarray], np.ndarray]:
    """Write a draft with random weights; returns its config, arrays and tokens that it scores."""
    with ModelFile.open(target) as file:
        config = DovetailConfig.for_target(file, read_model_config(file), blocks, window)
    rng = np.random.default_rng(7)
    arrays = {
        name: (1 + 0.1 * rng.normal(size=shape)).astype(np.float32)
        if len(shape) == 1
        else (rng.normal(size=shape) / np.sqrt(shape[1])).astype(np.float16)
        for name, shape in _shapes(config)
    }
    tokens = np.sort(rng.permutation(config.vocab_size)[:num_tokens]).astype(np.int32)
    write_draft(path, config, arrays, tokens)
    return config, arrays, tokens


def _shapes(c: DovetailConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    size, q_size, kv_size = c.hidden_size, c.num_heads * c.head_size, c.num_kv_heads * c.head_size
    yield "fusion.hidden.weight", (size, size)
    yield "fusion.norm.weight", (size,)
    yield "fusion.embedding.weight", (size, size)
    yield "fusion.gate.weight", (size, 2 * size)
    for block in range(c.num_blocks):
        name = f"blk.{block}."
        if block:
            yield name + "attn_norm.weight", (size,)
        yield name + "attn_q.weight", (q_size, size)
        yield name + "attn_k.weight", (kv_size, size)
        yield name + "attn_v.weight", (kv_size, size)
        yield name + "attn_output.weight", (size, q_size)
        yield name + "ffn_norm.weight", (size,)
        yield name + "ffn_gate.weight", (c.feed_forward_size, size)
        yield name + "ffn_up.weight", (c.feed_forward_size, size)
        yield name + "ffn_down.weight", (size, c.feed_forward_size)


def exact_draft(
    config: DovetailConfig, arrays: Arrays, hidden: np.ndarray, embedded: np.ndarray
) -> np.ndarray:
    """Guessed hidden states (T, C) float64 of rows of hidden states and embeddings (T, C)."""
    w = {name: values.astype(np.float64) for name, values in arrays.items()}
    h1, h2, z = exact_fusion(w, hidden, embedded, config.rms_eps)
    x = z * h1 + (1 - z) * h2
    for block in range(config.num_blocks):
        name = f"blk.{block}."
        h = _norm(x, w[name + "attn_norm.weight"], config.rms_eps) if block else x
        x = x + _attention(config, w, name, h)
        h = _norm(x, w[name + "ffn_norm.weight"], config.rms_eps)
        opened = _silu(h @ w[name + "ffn_gate.weight"].T) * (h @ w[name + "ffn_up.weight"].T)
        x = x + opened @ w[name + "ffn_down.weight"].T
    return x


def exact_fusion(
    w: Arrays, hidden: np.ndarray, embedded: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """h1, h2 and z, as the paper has them."""
    h1 = hidden @ w["fusion.hidden.weight"].T
    h2 = _silu(_norm(embedded, w["fusion.norm.weight"], eps) @ w["fusion.embedding.weight"].T)
    z = 1 / (1 + np.exp(-np.hstack([h1, h2]) @ w["fusion.gate.weight"].T))
    return h1, h2, z


def _attention(c: DovetailConfig, w: Arrays, name: str, h: np.ndarray) -> np.ndarray:
    def heads(which: str, count: int) -> np.ndarray:
        return (h @ w[f"{name}attn_{which}.weight"].T).reshape(len(h), count, c.head_size)

    q, k = _rotated(heads("q", c.num_heads), c), _rotated(heads("k", c.num_kv_heads), c)
    v = heads("v", c.num_kv_heads)
    distance = np.subtract.outer(np.arange(len(h)), np.arange(len(h)))
    gathered = np.empty_like(q)
    for head in range(c.num_heads):
        shared = head // (c.num_heads // c.num_kv_heads)
        scores = q[:, head] @ k[:, shared].T / np.sqrt(c.head_size)
        scores[(distance < 0) | (distance >= c.window)] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        gathered[:, head] = shares / shares.sum(axis=1, keepdims=True) @ v[:, shared]
    return gathered.reshape(len(h), -1) @ w[f"{name}attn_output.weight"].T


def _rotated(x: np.ndarray, c: DovetailConfig) -> np.ndarray:
    """Pairs are an element of the first half and its like in the second."""
    half = c.head_size // 2
    turns = np.outer(np.arange(len(x)), c.rope_base ** (-np.arange(half) / half))[:, None]
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * turns)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def _norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * weight


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """Largest difference, in root mean squares of `want`."""
    return float(np.abs(got - want).max() / np.sqrt((want**2).mean()))


def chain(length: int, vocab_size: int, seed: int = 3) -> Sequence[int]:
    """Tokens of no meaning."""
    return np.random.default_rng(seed).integers(0, vocab_size, length).tolist()
