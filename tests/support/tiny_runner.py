"""A tiny model, a KV cache and a backend, to run steps on without an engine."""

import functools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.backends import load_backend
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.kv_cache import KVCache
from slipstream.runtime.models import StepRunner, load_model, read_model_config
from slipstream.runtime.step_batch import StepBatch
from support.tiny_gguf import tiny_shape, write_tiny_model


class TinyRunner:
    """Runs steps and commits what they ask for."""

    def __init__(
        self, path: Path, backend: str, num_tokens: int = 2048, kv_dtype: str = "float16"
    ) -> None:
        """`num_tokens` fit in the cache, whose pages are of `kv_dtype`."""
        self.backend = load_backend(backend)
        with ModelFile.open(path) as file:
            self.config = read_model_config(file)
            self.backend.ops.prepare({each.quant_type for each in file.tensors.values()})
            self.model = load_model(file, self.config, self.backend)
        self.cache = KVCache(
            num_layers=self.config.num_layers,
            num_kv_heads=self.config.num_kv_heads,
            head_size=self.config.head_size,
            num_tokens=num_tokens,
            dtype=kv_dtype,
        )
        self.step_runner = StepRunner(self.model, self.cache, self.backend)
        self._whole: dict[tuple[int, ...], np.ndarray] = {}

    @classmethod
    @functools.cache
    def of(
        cls, architecture: str, quant_type: QuantType, backend: str, kv_dtype: str = "float16"
    ) -> Self:
        """The one runner of a tiny random model; tests open and close sequences of their own.

        Unquantised ones are smaller still, for the reference's sake.
        """
        shape = tiny_shape(architecture)
        if quant_type.block_columns == 1:
            shape = replace(shape, channels=48, feed_forward=80, num_heads=4, head_size=12)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tiny.gguf"
            write_tiny_model(path, architecture=architecture, quant_type=quant_type, shape=shape)
            return cls(path, backend, kv_dtype=kv_dtype)

    def forward(self, batch: StepBatch) -> np.ndarray:
        """Logits (W, V) of a step that is placed and not committed."""
        return self.step_runner.logits(batch).copy()

    def feed(self, slot: int, tokens: list[int], chunk: int | None = None) -> np.ndarray:
        """Append tokens to a sequence, in chunks; logits (T, V) of them all."""
        size = chunk or len(tokens)
        logits = []
        for first in range(0, len(tokens), size):
            part = tokens[first : first + size]
            run = (slot, self.cache.length(slot), part)
            logits.append(self.forward(StepBatch.linear([run], range(len(part)))))
            self.cache.commit(slot)
        return np.concatenate(logits)

    def whole(self, tokens: list[int]) -> np.ndarray:
        """Logits (T, V) of a text in one step, on a sequence that is gone afterwards."""
        known = self._whole.get(tuple(tokens))
        if known is None:
            slot = self.cache.open()
            known = self._whole[tuple(tokens)] = self.feed(slot, tokens)
            self.cache.close(slot)
        return known
