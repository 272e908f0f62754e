"""What llama.cpp makes of the torture texts, live or recorded.

`python tests/support/llamacpp_tokens.py` records it for the catalogue models on this machine, into
tests/golden; it needs llama-cpp-python.
"""

import ctypes
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from slipstream.runtime.catalogue import CATALOGUE, resolve
from support.torture_text import torture_texts

CHUNK = 50
_SAMPLE_EVERY = 29
_SAMPLE_LENGTH = 40


def golden_path(model: str) -> Path:
    """Where the record for a catalogue model is."""
    return Path(__file__).parents[1] / "golden" / f"tokens-{model}.json"


def without_surrogates(text: str) -> str:
    """The text as UTF-8 can say it: each lone surrogate is the replacement character."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def chunk_hashes(ids: list[list[int]]) -> list[str]:
    """A short hash of the token ids of each CHUNK texts."""
    chunks = (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
    return [hashlib.sha256(json.dumps(chunk).encode()).hexdigest()[:12] for chunk in chunks]


def texts_hash() -> str:
    """A short hash of the torture texts, to tell what a record is a record of."""
    return chunk_hashes([[ord(c) for text in torture_texts() for c in text]])[0]


class LlamaCppTokenizer:
    """The tokenizer of a model file, by llama.cpp; skips the test where that is not installed."""

    def __init__(self, path: Path) -> None:
        llama_cpp = pytest.importorskip("llama_cpp")
        self._library = llama_cpp
        self._llama = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._llama._model.model)

    def encode(self, text: str, *, parse_special: bool) -> list[int]:
        """Token ids, with those before and after the text that the file asks for."""
        data = without_surrogates(text).encode()
        return list(self._llama.tokenize(data, add_bos=True, special=parse_special))

    def token_bytes(self, token_id: int) -> bytes:
        """What the token adds to a text."""
        buffer = ctypes.create_string_buffer(1024)
        length = self._library.llama_token_to_piece(
            self._vocabulary, token_id, buffer, len(buffer), 0, False
        )
        assert length >= 0
        return buffer.raw[:length]

    def end_ids(self) -> set[int]:
        """Every token that ends an answer."""
        return {
            token_id
            for token_id in range(self._llama.n_vocab())
            if self._library.llama_vocab_is_eog(self._vocabulary, token_id)
        }


def _record(model: str) -> dict[str, Any]:
    import llama_cpp

    tokenizer = LlamaCppTokenizer(resolve(model))
    texts = torture_texts()
    record: dict[str, Any] = {"llama_cpp_python": llama_cpp.__version__}
    record["texts"] = texts_hash()
    record["end_ids"] = sorted(tokenizer.end_ids())
    for name, parse_special in (("plain", False), ("special", True)):
        ids = [tokenizer.encode(text, parse_special=parse_special) for text in texts]
        samples = range(0, len(texts), _SAMPLE_EVERY)
        record[name] = {
            "hashes": chunk_hashes(ids),
            "samples": {i: ids[i] for i in samples if len(ids[i]) <= _SAMPLE_LENGTH},
        }
    return record


if __name__ == "__main__":
    for name in CATALOGUE:
        text = json.dumps(_record(name), separators=(",", ":"))
        golden_path(name).write_text(text.replace('"samples"', '\n"samples"') + "\n")
