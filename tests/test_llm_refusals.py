"""What `LLM` refuses, each with an error that names it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import (
    CatalogueError,
    ChatTemplateError,
    CheckpointError,
    EngineError,
    MemoryBudgetError,
    OptionError,
    PromptError,
    UnsupportedError,
)
from slipstream.runtime.llm import LLM
from slipstream.runtime.models import model_cache
from slipstream.runtime.options import Options
from support.tiny_gguf import tiny_shape, write_tiny_model
from support.tiny_llm import CONTEXT

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("", "empty"),
        ([], "empty"),
        ([5] * CONTEXT, f"{CONTEXT} tokens, but at most {CONTEXT - 1}"),
        ("a " * CONTEXT, "shorten it"),
        ([1, -1], "token id -1"),
        ([1, 10_000], "token id 10000"),
        ([1.5], "whole numbers"),
        (["1"], "whole numbers"),
        ([[1, 2]], "whole numbers"),
        (None, "token ids"),
        (b"the", "got bytes, which has to be decoded"),
        (bytearray(b"the"), "got bytearray"),
        (5, "token ids"),
        (np.array([[1, 2]]), "whole numbers"),
    ],
)
def test_bad_prompts(llm: LLM, prompt: Any, problem: str) -> None:
    with pytest.raises(PromptError, match=problem):
        llm.generate(prompt)


def test_bad_ids_for_logits(llm: LLM) -> None:
    for ids, problem in (([], "empty"), ([9999], "9999"), ("the", "whole numbers"), (None, "ids")):
        with pytest.raises(PromptError, match=problem):
            llm.logits(ids)
    with pytest.raises(PromptError, match=f"at most {CONTEXT}"):
        llm.logits([1] * (CONTEXT + 1))
    assert llm.logits([1] * CONTEXT).shape == (CONTEXT, llm.config.vocab_size)


def test_bad_ids_for_text(llm: LLM) -> None:
    for wrong in (-1, llm.config.vocab_size):
        with pytest.raises(OptionError, match="token id"):
            llm.detokenize([wrong])


@pytest.mark.parametrize("ids", [None, 5, "the", b"the", ["1"], [1.5]])
def test_what_is_no_list_of_ids(llm: LLM, ids: Any) -> None:
    with pytest.raises(OptionError, match=r"expected (token ids|a whole number).*got"):
        llm.detokenize(ids)


@pytest.mark.parametrize("text", [None, 5, b"the", ["the"]])
def test_what_is_no_text(llm: LLM, text: Any) -> None:
    with pytest.raises(OptionError, match=f"expected a str, got {type(text).__name__}"):
        llm.tokenize(text)


@pytest.mark.parametrize("model", [None, 5, b"model.gguf"])
def test_what_is_no_model(model: Any) -> None:
    with pytest.raises(OptionError, match=f"a str or a Path, got {type(model).__name__}"):
        LLM(model)


@pytest.mark.parametrize(
    ("sampling", "problem"),
    [
        ({"temprature": 1.0}, "did you mean temperature"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_p": 2.0}, "top_p"),
        ({"stop": ""}, "stop"),
        ({"stop": 10_000}, "stop names token 10000"),
        ({"logit_bias": {10_000: 1.0}}, "logit_bias names token 10000"),
        ({"logprobs": 100}, "logprobs"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_sampling_options(llm: LLM, sampling: dict[str, Any], problem: str) -> None:
    for call in (llm.generate, llm.stream):
        with pytest.raises(OptionError, match=problem):
            call("the", **sampling)
    with pytest.raises(OptionError, match=problem):
        llm.chat([{"role": "user", "content": "the"}], **sampling)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"threads": 0}, "threads"),
        ({"threads": True}, "threads"),
        ({"threads": 1.5}, "threads"),
        ({"threads": 100_000}, "threads"),
        ({"context": 0}, "context"),
        ({"context": "512"}, "context"),
        ({"context": CONTEXT + 1}, "512"),
        ({"kv": "q3"}, "kv"),
        ({"speculate": "always"}, "speculate"),
        ({"speculate": True}, "speculate"),
        ({"speculate": "ngram+ngram"}, "speculate"),
        ({"speculate": "model"}, "name one as draft"),
        ({"speculate": "off", "draft": "x.gguf"}, "would not be used"),
        ({"draft": 5}, "draft"),
        ({"acceptance": "always"}, "expected one of match, rejection, spectr"),
        ({"acceptance": None}, "acceptance must be a text"),
        ({"acceptance": "rejection"}, "name one as draft"),
        ({"acceptance": "spectr", "draft": "x.gguf", "speculate": "ngram"}, "would not be used"),
        ({"acceptance": "spectr", "draft": "auto", "speculate": "ngram"}, "has none"),
        ({"acceptance": "rejection", "speculate": "off"}, "has none"),
        ({"vram_bytes": 1 << 30}, "vram_bytes: the GPU can't be used: no GPU was found"),
        ({"strict": 1}, "strict must be True or False"),
        ({"vram_bytes": -1}, "vram_bytes"),
        ({"seed": -1}, "seed"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_bad_options(llm: LLM, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        LLM(llm.path, **options)


def test_unknown_options_and_backends(llm: LLM) -> None:
    with pytest.raises(TypeError, match="n_ctx"):
        LLM(llm.path, n_ctx=5)
    with pytest.raises(OptionError, match="expected one of auto"):
        LLM.open(llm.path, Options(), backend="cuda")


@pytest.mark.parametrize("kv", ["q8_0", "q4_0"])
def test_heads_that_are_not_whole_blocks_of_the_kv_cache(tmp_path: Path, kv: str) -> None:
    path = tmp_path / "small-heads.gguf"
    shape = tiny_shape("llama", channels=48, feed_forward=80, num_heads=4, head_size=12)
    write_tiny_model(path, architecture="llama", quant_type=QuantType.F32, shape=shape)
    with pytest.raises(OptionError, match=f"{kv} needs heads of a multiple of 32 dimensions"):
        LLM(path, kv=kv)


def test_keys_with_biases_are_not_stored_in_4_bits(tmp_path: Path) -> None:
    path = tmp_path / "biases.gguf"
    write_tiny_model(path, architecture="qwen2", quant_type=QuantType.Q8_0)
    with pytest.raises(OptionError, match=r"q4_0 can't hold the keys of .* use q8_0"):
        LLM(path, kv="q4_0")


def test_options_become_plain_numbers() -> None:
    assert type(Options(threads=np.int64(2)).threads) is int


def test_options_are_checked_before_the_model_is_looked_for() -> None:
    with pytest.raises(OptionError, match="kv"):
        LLM("no-such-model", kv="q3")
    with pytest.raises(CatalogueError, match="no-such-model"):
        LLM("no-such-model")


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "notes.gguf"
    file.write_bytes(b"not a model" * 10)
    with pytest.raises(CheckpointError, match=r"notes\.gguf"):
        LLM(file)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_model_that_makes_no_numbers_is_told(tmp_path: Path, backend: str) -> None:
    """A damaged weight must not end in text that looks like an answer."""
    path = tmp_path / "damaged.gguf"
    write_tiny_model(path, architecture="llama", quant_type=QuantType.Q8_0)
    with ModelFile.open(path) as file:
        sound = file.tensors["blk.1.attn_norm.weight"].data.tobytes()
    damaged = sound[:400] + np.float32(np.nan).tobytes() + sound[404:]
    path.write_bytes(path.read_bytes().replace(sound, damaged))
    with (
        LLM.open(path, Options(), backend=backend) as llm,
        pytest.raises(EngineError, match="must be numbers"),
    ):
        llm.generate("the and", max_tokens=3)
    with (
        LLM.open(path, Options(), backend=backend) as llm,
        pytest.raises(EngineError, match="must be numbers"),
    ):
        llm.logits([1, 2])


@pytest.mark.parametrize(
    ("key", "value", "error", "problem"),
    [
        ("vocab_size", 7, CheckpointError, "is 7, but there are"),
        ("rope.dimension_count", 16, UnsupportedError, "= 16 rotates only a part of each head"),
        ("rope.dimension_count", 64, CheckpointError, "64 rotated dimensions"),
        ("rope.freq_base", 0.5, CheckpointError, "expected a number above 1, got 0.5"),
    ],
)
def test_numbers_in_a_file_that_do_not_fit(
    tmp_path: Path, key: str, value: float, error: type[CheckpointError], problem: str
) -> None:
    path = tmp_path / "odd.gguf"
    write_tiny_model(path, architecture="llama", extra_metadata={f"llama.{key}": value})
    with pytest.raises(error, match=problem) as raised:
        LLM(path)
    assert str(path) in str(raised.value)


def test_no_memory_while_loading_is_one_sentence(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: int) -> None:
        np.empty(1 << 60, np.uint8)

    monkeypatch.setattr(model_cache, "KVCache", fail)
    with pytest.raises(MemoryBudgetError, match=r"not enough memory to load .*tiny\.gguf"):
        LLM(llm.path)


def test_a_model_without_a_template_says_so(tmp_path: Path) -> None:
    path = tmp_path / "plain.gguf"
    write_tiny_model(path, architecture="llama", shape=tiny_shape("llama", num_layers=1))
    with LLM(path) as llm:
        assert llm.chat_template is None
        with pytest.raises(ChatTemplateError, match="no chat template"):
            llm.chat([{"role": "user", "content": "hi"}])
        assert llm.generate("the", max_tokens=2).token_ids


@pytest.mark.parametrize("messages", [[], "hello", [{"content": "x"}], [{"role": "user"}], None])
def test_bad_messages(llm: LLM, messages: Any) -> None:
    with pytest.raises(ChatTemplateError, match="message"):
        llm.chat(messages)


@pytest.mark.parametrize("name", ["neon_dot", "avx1024"])
def test_an_instruction_set_that_this_cpu_lacks_is_named(name: str, llm: LLM) -> None:
    """In a process of its own: kernels are chosen once."""
    program = f"from slipstream import LLM; LLM({str(llm.path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SLIPSTREAM_INSTRUCTION_SET": name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"got '{name}'" in done.stderr.splitlines()[-1]
    assert "OptionError" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("options", [{"kv": ["q8_0"]}, {"kv": {}}, {"speculate": np.zeros(2)}])
def test_options_of_another_type_are_named(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=f"{name} must be a text"):
        Options(**options)
