"""Callers beside each other on one `LLM` and on several, and its end."""

import gc
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.completion import Completion
from slipstream.runtime.errors import (
    EngineError,
)
from slipstream.runtime.llm import LLM
from support.roomy_machine import ROOMY
from support.tiny_gguf import write_tiny_model
from support.tiny_llm import CONTEXT, endless, unhurried

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")


PROMPTS = ["the", "the and on", "in we", "and " * 60, "日本 the", "or " * 33]


SAMPLINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"seed": 1, "temperature": 1.5},
    {"seed": 2, "top_k": 0, "repeat_penalty": 1.3},
]


def test_together_as_alone(llm: LLM) -> None:
    """Eighteen callers at once get, to the last bit, what each gets by itself."""
    requests = [(prompt, sampling) for prompt in PROMPTS for sampling in SAMPLINGS]

    def say(request: tuple[str, dict[str, Any]]) -> Completion:
        return llm.generate(request[0], max_tokens=30, logprobs=1, **request[1])

    alone = [say(request) for request in requests]
    with ThreadPoolExecutor(len(requests)) as callers:
        for _ in range(2):
            together = list(callers.map(say, requests))
            for one, other in zip(alone, together, strict=True):
                assert one.token_ids == other.token_ids
                assert one.logprobs == other.logprobs
                assert one.text == other.text


def test_a_reused_beginning_changes_nothing(llm: LLM) -> None:
    prompt = "the and on we in the or " * 6
    with LLM(llm.path) as fresh:
        want = fresh.generate(prompt, max_tokens=20, temperature=0, logprobs=2)
    assert want.stats["reused_tokens"] == 0
    llm.generate(prompt[:60], max_tokens=30, seed=1)
    llm.generate(prompt, max_tokens=3, seed=2)
    got = llm.generate(prompt, max_tokens=20, temperature=0, logprobs=2)
    assert got.stats["reused_tokens"] == got.stats["prompt_tokens"] - 1
    assert got.token_ids == want.token_ids
    assert got.logprobs == want.logprobs


def test_logits_beside_generations(llm: LLM) -> None:
    ids = llm.tokenize("the and on we in " * 12)
    want = llm.logits(ids)
    assert want.dtype == np.float32
    stop = threading.Event()

    def chatter(seed: int) -> None:
        while not stop.is_set():
            llm.generate("in the", max_tokens=15, seed=seed)

    with ThreadPoolExecutor(3) as callers:
        talking = [callers.submit(chatter, seed) for seed in range(3)]
        try:
            for _ in range(5):
                np.testing.assert_array_equal(llm.logits(ids), want)
        finally:
            stop.set()
        for each in talking:
            each.result()


def test_more_callers_than_the_cache_has_room_for(llm: LLM) -> None:
    """A context that is no multiple of a page: pages, not tokens, are what runs out."""
    with LLM(llm.path, context=100) as small:

        def say(first: int) -> Completion:
            return small.generate([first] * 70, **endless(small))

        alone = [say(first) for first in range(20)]
        with ThreadPoolExecutor(20) as callers:
            together = list(callers.map(say, range(20)))
    for one, other in zip(alone, together, strict=True):
        assert len(other.token_ids) == 30
        assert one.token_ids == other.token_ids


def test_several_models_in_one_process(llm: LLM, tmp_path: Path) -> None:
    path = tmp_path / "gemma.gguf"
    write_tiny_model(path, architecture="gemma3", quant_type=QuantType.Q8_0)
    with LLM(path, threads=1) as gemma:

        def say(model: LLM) -> tuple[int, ...]:
            return model.generate("the and", max_tokens=25, temperature=0).token_ids

        alone = {model: say(model) for model in (llm, gemma)}
        with ThreadPoolExecutor(6) as callers:
            models = [llm, gemma] * 6
            for model, got in zip(models, callers.map(say, models), strict=True):
                assert got == alone[model]


def test_closed_while_running(llm: LLM) -> None:
    llm = LLM(llm.path)
    with unhurried():
        streams = [llm.stream([first], **endless(llm)) for first in range(3)]
        next(streams[0])
        llm.close()
    for stream in streams:
        assert stream.completion.finish_reason == "cancelled"
    for call in (llm.generate, llm.logits):
        with pytest.raises(EngineError, match="closed"):
            call([1])
    llm.close()
    assert llm.plan.context == CONTEXT  # what it says of itself stays


FORKING = """
import os, sys
from slipstream import LLM
from slipstream.runtime.errors import EngineError
llm = LLM(sys.argv[1])
llm.generate("the", max_tokens=2, temperature=0)
if os.fork() == 0:
    try:
        llm.generate("the", max_tokens=2, temperature=0)
    except EngineError as error:
        os._exit(0 if "forked" in str(error) else 1)
    os._exit(2)
status = os.waitstatus_to_exitcode(os.wait()[1])
print(status, llm.generate("the", max_tokens=2, temperature=0).finish_reason)
"""


def test_a_forked_process_is_told_to_load_its_own(llm: LLM) -> None:
    command = [sys.executable, "-W", "ignore", "-c", ROOMY + FORKING, str(llm.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["0", "length"], done.stderr


def engine_threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "slipstream-engine"}


def test_a_forgotten_llm_ends_its_thread(llm: LLM) -> None:
    before = engine_threads()
    forgotten = LLM(llm.path)
    (thread,) = engine_threads() - before
    del forgotten
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


def test_a_stream_keeps_its_llm(llm: LLM) -> None:
    before = engine_threads()
    stream = LLM(llm.path).stream("the", max_tokens=20, temperature=0)
    gc.collect()
    assert stream.completion.finish_reason == "length"
    gc.collect()
    while engine_threads() - before:  # the time limit ends it
        time.sleep(0.01)
