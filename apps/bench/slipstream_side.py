"""Slipstream, measured through its public API."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from slipstream import __version__
from slipstream.apps.bench.speed import Run, Workload
from slipstream.runtime.llm import LLM
from slipstream.runtime.options import Options

__all__ = ["SlipstreamSide"]


class SlipstreamSide:
    """A loaded `LLM`."""

    name = "slipstream"
    version = __version__

    def __init__(
        self,
        path: Path,
        workload: Workload,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        """Raises as `LLM` does."""
        options = Options(threads=workload.threads, context=workload.context)
        self.llm = LLM.open(path, options, progress=progress)
        self.load_s = self.llm.load_s
        self._never_end = dict.fromkeys(self.llm.tokenizer.end_ids, -math.inf)

    def run(self, prompt: Sequence[int], decode_tokens: int) -> Run:
        """Prefill and decode one prompt."""
        timings = self.llm.generate(
            prompt,
            temperature=0,
            max_tokens=decode_tokens + 1,  # the first belongs to prefill
            logit_bias=self._never_end,
        ).timings
        return Run(
            prefill_s=timings.prefill_s,
            prefill_tokens=timings.prefill_tokens,
            decode_s=timings.decode_s,
            decode_tokens=timings.decode_tokens,
        )

    def close(self) -> None:
        self.llm.close()
