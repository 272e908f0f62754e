"""llama.cpp's logits on the parity texts, recorded compactly: tests/golden/logits-MODEL.json.

`python tests/support/recorded_logits.py [MODEL ...]` records them for the catalogue models on this
machine; it needs llama-cpp-python.

Of each text: its perplexity, the most probable token at every position, and at some positions the
20 most probable tokens with their log-probabilities.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from slipstream.runtime.catalogue import resolve
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.tokenizer import Tokenizer
from support.parity import (
    MODELS,
    llama_cpp_logits,
    log_softmax,
    parity_text,
    perplexity,
    text_names,
)

_POSITIONS = 20
_TOP = 20


def golden_path(model: str) -> Path:
    """Where the record for a catalogue model is."""
    return Path(__file__).parents[1] / "golden" / f"logits-{model}.json"


def ids_hash(ids: Sequence[int]) -> str:
    """A short hash of token ids, to tell what a record is a record of."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedLogits:
    """llama.cpp on one text."""

    ids_hash: str
    perplexity: float  # all positions but the first, as in `support.parity`
    best: list[int]  # of every position
    positions: list[int]
    top_ids: list[list[int]]  # of `positions`, most probable first
    top_logprobs: list[list[float]]

    @classmethod
    def load(cls, model: str, text: str) -> Self:
        record = json.loads(golden_path(model).read_text())
        return cls(**record["texts"][text])

    @classmethod
    def of(cls, ids: Sequence[int], logits: np.ndarray) -> Self:
        positions = np.linspace(1, len(ids) - 1, _POSITIONS).astype(int)
        logprobs = log_softmax(logits[positions])
        top_ids = np.argsort(-logprobs, axis=1)[:, :_TOP]
        return cls(
            ids_hash=ids_hash(ids),
            perplexity=round(perplexity(logits, ids), 5),
            best=logits.argmax(axis=1).tolist(),
            positions=positions.tolist(),
            top_ids=top_ids.tolist(),
            top_logprobs=np.take_along_axis(logprobs, top_ids, axis=1).round(4).tolist(),
        )

    def divergence(self, logits: np.ndarray) -> float:
        """Mean KL(llama.cpp || logits) over `positions`, with all other tokens taken as one.

        Taking tokens together can only make it smaller, here by little: the 20 hold most of it.
        """
        p = np.exp(np.array(self.top_logprobs))
        logprobs = log_softmax(logits[self.positions])
        q = np.exp(np.take_along_axis(logprobs, np.array(self.top_ids), axis=1))
        p, q = (np.hstack([x, np.maximum(1 - x.sum(axis=1, keepdims=True), 1e-9)]) for x in (p, q))
        return float((p * np.log(p / q)).sum(axis=1).mean())


def _record(model: str) -> dict[str, Any]:
    import llama_cpp

    path = resolve(model)
    with ModelFile.open(path) as file:
        tokenizer = Tokenizer.from_metadata(file.metadata)
    names = text_names(model)
    texts = [tokenizer.encode(parity_text(name)) for name in names]
    records = {
        name: {field: getattr(record, field) for field in record.__slots__}
        for name, ids, logits in zip(names, texts, llama_cpp_logits(path, texts), strict=True)
        for record in [RecordedLogits.of(ids, logits)]
    }
    return {"llama_cpp_python": llama_cpp.__version__, "texts": records}


if __name__ == "__main__":
    for name in sys.argv[1:] or MODELS:
        text = json.dumps(_record(name), separators=(",", ":"))
        golden_path(name).write_text(text.replace('"ids_hash"', '\n"ids_hash"') + "\n")
