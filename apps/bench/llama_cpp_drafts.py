"""Drafts as llama.cpp makes them: by prompt lookup, and by a smaller model (its `draft-simple`)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from slipstream.apps.bench.llama_cpp_side import BATCH_TOKENS, LlamaCppSide, import_llama_cpp
from slipstream.apps.bench.workload import Workload

Drafts = Callable[[np.ndarray], Sequence[int]]  # of a text's token ids (T,) intc: what may follow

_MOST_TOKENS = 16  # llama.cpp's defaults for a draft model: so many,
_LEAST_SHARE = 0.75  # as long as each has so much of what its ten likeliest share
_CANDIDATES = 10


def no_drafts(ids: np.ndarray) -> Sequence[int]:
    """Plain decoding."""
    return ()


def prompt_lookup(num_tokens: int) -> Drafts:
    """What followed the text's last tokens earlier in it, by llama-cpp-python.

    Raises OptionError when that is not installed.
    """
    import_llama_cpp()
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    lookup = LlamaPromptLookupDecoding(num_pred_tokens=num_tokens)

    def drafts(ids: np.ndarray) -> Sequence[int]:
        found: list[int] = lookup(ids).tolist()
        return found

    return drafts


class LlamaCppDraftModel(LlamaCppSide):
    """A smaller model that goes on greedily as long as it is sure."""

    def __init__(self, path: Path, workload: Workload) -> None:
        """Raises as `LlamaCppSide` does."""
        room = replace(workload, decode_tokens=workload.decode_tokens + _MOST_TOKENS)
        super().__init__(path, room)
        self._held = np.empty(0, np.intc)

    def __call__(self, ids: np.ndarray) -> Sequence[int]:
        """What may follow the text."""
        most = min(len(self._held), len(ids) - 1)
        same = int((self._held[:most] == ids[:most]).cumprod().sum())
        self._forget_from(same)
        tokens = (self._api.llama_token * len(ids))(*ids.tolist())
        for first in range(same, len(ids), BATCH_TOKENS):
            self._decode(tokens, first, min(BATCH_TOKENS, len(ids) - first))
        drafted: list[int] = []
        while (token := self._sure_token()) is not None:
            drafted.append(token)
            if len(drafted) == _MOST_TOKENS:
                break
            self._decode((self._api.llama_token * 1)(token), 0, 1)
        self._held = np.concatenate([ids, np.array(drafted[: _MOST_TOKENS - 1], np.intc)])
        return drafted

    def _sure_token(self) -> int | None:
        row = self._logits()
        token = int(row.argmax())
        near = row[row > row[token] - 16.0]  # others have less than a millionth
        near = np.sort(near)[-_CANDIDATES:]
        share = 1.0 / np.exp(near - row[token]).sum()
        return token if share >= _LEAST_SHARE else None
