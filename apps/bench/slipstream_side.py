"""Slipstream, measured through `LLM`; a verification through its engine, being a single step."""

import math
import queue
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from slipstream import __version__
from slipstream.apps.bench.workload import Workload
from slipstream.runtime.completion import Timings
from slipstream.runtime.engine import Job
from slipstream.runtime.errors import EngineError
from slipstream.runtime.llm import LLM
from slipstream.runtime.options import Options


class _StepProbe(Job):
    """Times the engine's step over the last tokens of a sequence whose beginning it knows."""

    def __init__(self, tokens: list[int], num_wanted: int) -> None:
        super().__init__(tokens, max_length=len(tokens))
        self._num_wanted = num_wanted
        self._begun = 0.0
        self._result: queue.SimpleQueue[float | BaseException] = queue.SimpleQueue()

    def seconds(self) -> float:
        """Wait for the step and say what it took."""
        result = self._result.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def wanted(self, count: int) -> range:
        return range(count)

    def started(self, reused: int) -> None:
        if reused != len(self.tokens) - self._num_wanted:
            raise EngineError(f"a step over {self._num_wanted} tokens found {reused} cached")
        self._begun = time.perf_counter()

    def advance(self, logits: np.ndarray) -> None:
        self._result.put(time.perf_counter() - self._begun)
        self.finished = True

    def fail(self, error: BaseException) -> None:
        self._result.put(error)
        self.finished = True

    def cancel(self) -> None:
        self.fail(EngineError("the model was closed meanwhile"))


class SlipstreamSide:
    """A loaded `LLM`."""

    name = "slipstream"
    version = __version__

    def __init__(
        self,
        path: Path,
        workload: Workload,
        progress: Callable[[str, int, int], None] | None = None,
        *,
        speculate: str = "off",
        draft: str | None = None,
    ) -> None:
        """Plain decoding, unless `speculate` names drafters. Raises as `LLM` does."""
        options = Options(
            threads=workload.threads,
            context=workload.context,
            kv=workload.kv,
            speculate=speculate,
            draft=draft,
        )
        self.llm = LLM.open(path, options, progress=progress)
        self._never_end = dict.fromkeys(self.llm.tokenizer.end_ids, -math.inf)

    def run(self, prompt: Sequence[int], decode_tokens: int, *, reuse: bool = False) -> Timings:
        """Prefill and decode one prompt; the engine itself sees what can be reused."""
        return self.llm.generate(
            prompt,
            temperature=0,
            max_tokens=decode_tokens + 1,  # the first belongs to prefill
            logit_bias=self._never_end,
        ).timings

    def verify(self, context: Sequence[int], new: Sequence[int]) -> float:
        """Seconds of one step over `new`, logits of all."""
        self.llm.generate(context, temperature=0, max_tokens=1)  # so that it is in the KV cache
        probe = _StepProbe([*context, *new], num_wanted=len(new))
        self.llm.engine.submit(probe)
        return probe.seconds()

    def close(self) -> None:
        self.llm.close()
