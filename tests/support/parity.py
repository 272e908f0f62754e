"""How far two programs' logits agree on a text, and the texts that this is measured on.

The texts are plain, full of facts and repetition. On free prose, where a model is unsure of half
its words, rounding flips near-ties: llama.cpp's own batch and single-token paths then choose the
same token only 94 times in 100 (Gemma 3 270M), which would hide an error of ours of that size.
`FREE_TEXTS` are such prose; on them the comparison is with the exact logits alone.

The first position of a text is left out of every mean and reported apart. A text's first token is
what Qwen2.5 collects idle attention on; its activations are hundreds of times the usual, and there
llama.cpp is 3 to 7 nats from the exact result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slipstream.runtime.catalogue import CATALOGUE

MODELS = tuple(CATALOGUE)
FREE_TEXTS = ("prose", "mixed")
_FOLDER = Path(__file__).with_name("parity_texts")
_ROWS_AT_ONCE = 64  # 64 x 262,144 float64 are 134 MB


def text_names(model: str) -> tuple[str, ...]:
    """English, code, other scripts; and for a model with windows a text three windows long."""
    longer = ("english+code",) if CATALOGUE[model].architecture == "gemma3" else ()
    return ("english", "code", "scripts", *longer)


def parity_text(name: str) -> str:
    """A text by name; `a+b` is text a and then text b."""
    return "\n".join((_FOLDER / f"{part}.txt").read_text("utf-8") for part in name.split("+"))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities of logits (T, V), in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Means over all positions of a text but the first.

    kl       : Kullback-Leibler divergence KL(want || got), in nats
    first_kl : the same at the first position
    top1     : share of positions at which both find the same token the most probable
    want_perplexity, got_perplexity : of the text
    """

    kl: float
    first_kl: float
    top1: float
    want_perplexity: float
    got_perplexity: float

    @property
    def perplexity_change(self) -> float:
        return self.got_perplexity / self.want_perplexity - 1


def agreement(want: np.ndarray, got: np.ndarray, ids: Sequence[int]) -> Agreement:
    """Compare logits (T, V) after each token of `ids` (T,)."""
    assert want.shape == got.shape
    assert len(ids) == len(want)
    divergence, same = np.empty(len(ids)), np.empty(len(ids), bool)
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        p, q = log_softmax(want[rows]), log_softmax(got[rows])
        divergence[rows] = (np.exp(p) * (p - q)).sum(axis=1)
        same[rows] = p.argmax(axis=1) == q.argmax(axis=1)
    return Agreement(
        kl=float(divergence[1:].mean()),
        first_kl=float(divergence[0]),
        top1=float(same[1:].mean()),
        want_perplexity=perplexity(want, ids),
        got_perplexity=perplexity(got, ids),
    )


def perplexity(logits: np.ndarray, ids: Sequence[int]) -> float:
    """Of the text `ids` (T,) under the logits (T, V) after each of its tokens but the first."""
    losses = np.empty(len(ids) - 1)
    for row in range(len(losses)):
        peak = logits[row].max()
        total = np.exp(logits[row] - peak).sum(dtype=np.float64)
        losses[row] = peak + np.log(total) - logits[row, ids[row + 1]]
    return float(np.exp(losses[1:].mean()))


def llama_cpp_logits(path: Path, texts: Sequence[Sequence[int]]) -> Iterator[np.ndarray]:
    """llama.cpp's logits after each token of each text, (T, V), valid until the next.

    In batches of 512 (n_batch = n_ubatch = 512), with float16 keys and values and without flash
    attention: the defaults of llama-cpp-python.
    """
    import llama_cpp

    longest = max(len(text) for text in texts)
    model = llama_cpp.Llama(str(path), n_ctx=longest, logits_all=True, verbose=False)
    try:
        for text in texts:
            model.reset()
            model._ctx.kv_cache_clear()
            model.eval(text)
            yield model.scores[: len(text)]
    finally:
        model.close()
