"""llama.cpp answering prompts, without drafts and with any kind of them.

llama-cpp-python's convenience class decodes slower than llama.cpp: it copies all logits into
Python. Here the C functions are called.
"""

import time
from collections.abc import Sequence

import numpy as np

from slipstream.apps.bench.llama_cpp_drafts import Drafts, no_drafts
from slipstream.apps.bench.llama_cpp_side import LlamaCppSide
from slipstream.apps.bench.speculation import Answer


class LlamaCppAnswers(LlamaCppSide):
    """One loaded model that answers with whatever drafts."""

    def answer(
        self,
        prompt: Sequence[int],
        max_tokens: int,
        *,
        end_ids: frozenset[int],
        drafts: Drafts = no_drafts,
    ) -> Answer:
        """Greedily answer a prompt, with nothing cached before it."""
        self.run(prompt, 0)
        ids = np.empty(len(prompt) + max_tokens, np.intc)
        ids[: len(prompt)] = prompt
        ids[len(prompt)] = self._likeliest()
        length = len(prompt) + 1
        drafted = verified = 0
        by_depth: list[int] = []
        start = time.perf_counter()
        while length < len(ids) and ids[length - 1] not in end_ids:
            draft = drafts(ids[:length])[: len(ids) - length - 1]  # one more is the target's own
            taken = self._verify(int(ids[length - 1]), draft, length - 1, end_ids)
            drafted += len(draft)
            verified += len(draft) > 0
            by_depth += [0] * (len(taken) - 1 - len(by_depth))
            for depth in range(len(taken) - 1):
                by_depth[depth] += 1
            ids[length : length + len(taken)] = taken
            length += len(taken)
        seconds = time.perf_counter() - start
        kept = length - (ids[length - 1] in end_ids)
        return Answer(
            tokens=tuple(ids[len(prompt) : kept].tolist()),
            decode_tokens=length - len(prompt) - 1,
            decode_s=seconds,
            drafted_tokens=drafted,
            accepted_tokens=sum(by_depth),
            verified_drafts=verified,
            accepted_by_depth=tuple(by_depth),
        )

    def _verify(
        self, pending: int, draft: Sequence[int], position: int, end_ids: frozenset[int]
    ) -> list[int]:
        """Run the last token and its draft; the draft's beginning that is right, and one more."""
        self._decode_all([pending, *draft], position)
        taken = [self._likeliest(0)]
        for row, token in enumerate(draft, start=1):
            if taken[-1] != token or token in end_ids:
                break
            taken.append(self._likeliest(row))
        self._forget_from(position + len(taken))
        return taken
