"""A tiny random chat model for tests of `LLM`, and options that suit them."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.engine import Generation
from slipstream.runtime.llm import LLM
from support.roomy_machine import roomy_machine
from support.tiny_gguf import write_tiny_model
from support.tiny_vocabulary import CHATML_TEMPLATE

CONTEXT = 512
SHORT: dict[str, Any] = {"max_tokens": 6, "temperature": 0}


@contextmanager
def tiny_llm() -> Iterator[LLM]:
    """A qwen2 of two layers with a chat template; its file is there as long as it is."""
    with tempfile.TemporaryDirectory() as folder, roomy_machine():
        path = Path(folder) / "tiny.gguf"
        write_tiny_model(
            path, architecture="qwen2", quant_type=QuantType.Q4_K, chat_template=CHATML_TEMPLATE
        )
        with LLM(path) as llm:
            yield llm


def endless(llm: LLM) -> dict[str, Any]:
    """Sampling options of an answer that only the context's end, or a test, ends."""
    return {"temperature": 0, "logit_bias": dict.fromkeys(llm.tokenizer.end_ids, -np.inf)}


@contextmanager
def unhurried() -> Iterator[None]:
    """Each token takes 10 ms longer: an endless answer lasts 5 s, time for a test to stop it."""
    advance = Generation.advance

    def slowly(generation: Generation, logits: np.ndarray) -> None:
        time.sleep(0.01)
        advance(generation, logits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Generation, "advance", slowly)
        yield
