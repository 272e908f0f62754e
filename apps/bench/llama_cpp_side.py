"""llama.cpp, measured through the C functions that llama-cpp-python binds.

Its convenience class copies logits and builds Python lists for each token; calling the C functions
costs some microseconds a token, so what is measured is llama.cpp.
"""

import ctypes
import importlib.metadata
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slipstream.apps.bench.workload import Workload
from slipstream.runtime.completion import Timings
from slipstream.runtime.errors import OptionError

BATCH_TOKENS = 512  # llama.cpp's own default for what one pass computes


class LlamaCppSide:
    """A model in llama.cpp with its defaults for the CPU: weights repacked, float16 KV cache."""

    name = "llama.cpp"

    def __init__(self, path: Path, workload: Workload) -> None:
        """Raises OptionError when llama-cpp-python is missing or can't load the file."""
        self._api = import_llama_cpp()
        self.version = f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"
        start = time.perf_counter()
        self._model = self._load(path)
        self._context = self._open_context(workload)
        self._load_s = time.perf_counter() - start
        vocabulary = self._api.llama_model_get_vocab(self._model)
        self._last_prompt: list[int] = []
        self._vocab_size = self._api.llama_vocab_n_tokens(vocabulary)

    def run(self, prompt: Sequence[int], decode_tokens: int, *, reuse: bool = False) -> Timings:
        """Prefill and decode one prompt."""
        api = self._api
        computed = len(prompt) - 1 if reuse and self._last_prompt == list(prompt) else 0
        self._forget_from(computed)
        tokens = (api.llama_token * len(prompt))(*prompt)
        start = time.perf_counter()
        for first in range(computed, len(prompt), BATCH_TOKENS):
            count = min(BATCH_TOKENS, len(prompt) - first)
            self._decode(tokens, first, count)
        self._last_prompt = list(prompt)
        token = (api.llama_token * 1)(self._likeliest())
        prefilled = time.perf_counter()
        for _ in range(decode_tokens):
            self._decode(token, 0, 1)
            token[0] = self._likeliest()
        end = time.perf_counter()
        return Timings(
            load_s=self._load_s,
            prefill_s=prefilled - start,
            prefill_tokens=len(prompt) - computed,
            decode_s=end - prefilled,
            decode_tokens=decode_tokens,
        )

    def verify(self, context: Sequence[int], new: Sequence[int]) -> float:
        """Seconds of one batch over `new`, logits of all."""
        self.run(context, 0, reuse=True)
        start = time.perf_counter()
        self._decode_all(new, len(context))
        self._api.llama_get_logits_ith(self._context, -1)  # waits until they are there
        return time.perf_counter() - start

    def close(self) -> None:
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)

    def _load(self, path: Path) -> Any:
        params = self._api.llama_model_default_params()
        params.n_gpu_layers = 0  # the other side computes on the CPU too
        model = self._api.llama_model_load_from_file(str(path).encode(), params)
        if not model:
            raise OptionError(f"llama.cpp can't load {path}; leave out --against for this model")
        return model

    def _open_context(self, workload: Workload) -> Any:
        params = self._api.llama_context_default_params()
        params.n_ctx = workload.context
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_threads = params.n_threads_batch = workload.threads
        if workload.kv != "f16":
            kinds = {"q8_0": self._api.GGML_TYPE_Q8_0, "q4_0": self._api.GGML_TYPE_Q4_0}
            params.type_k = params.type_v = kinds[workload.kv]
            params.flash_attn_type = self._api.LLAMA_FLASH_ATTN_TYPE_ENABLED  # such values need it
        context = self._api.llama_init_from_model(self._model, params)
        if not context:
            raise OptionError(f"llama.cpp can't open a context of {workload.context} tokens")
        return context

    def _decode(self, tokens: Any, first: int, count: int) -> None:
        """Run tokens after those before; only the last one's logits are computed."""
        api = self._api
        place = ctypes.byref(tokens, first * ctypes.sizeof(api.llama_token))
        batch = api.llama_batch_get_one(ctypes.cast(place, ctypes.POINTER(api.llama_token)), count)
        status = api.llama_decode(self._context, batch)
        if status:
            raise OptionError(f"llama.cpp failed to run {count} tokens: status {status}")

    def _decode_all(self, new: Sequence[int], position: int) -> None:
        """Run tokens that stand at `position` and after; the logits of all are computed."""
        api = self._api
        batch = api.llama_batch_init(len(new), 0, 1)  # this and filling it take microseconds
        batch.n_tokens = len(new)
        for i, token in enumerate(new):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position + i, 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        status = api.llama_decode(self._context, batch)
        api.llama_batch_free(batch)
        if status:
            raise OptionError(f"llama.cpp failed to run {len(new)} tokens: status {status}")

    def _forget_from(self, position: int) -> None:
        memory = self._api.llama_get_memory(self._context)
        self._api.llama_memory_seq_rm(memory, 0, position, -1)

    def _likeliest(self, row: int = -1) -> int:
        """The greedy choice; NumPy's argmax is quicker than llama.cpp's sampler."""
        return int(self._logits(row).argmax())

    def _logits(self, row: int = -1) -> np.ndarray:
        """(V,) float32, in place: until the next step."""
        logits = self._api.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(logits, shape=(self._vocab_size,))


def import_llama_cpp() -> Any:
    """The llama_cpp module. Raises OptionError when it is not installed."""
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise OptionError(
            f"llama-cpp-python can't be imported ({error}); install it with "
            "`pip install 'slipstream[llamacpp]'`"
        ) from error
    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
    llama_cpp.llama_backend_init()
    return llama_cpp
