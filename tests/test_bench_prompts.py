"""Prompts of the benchmark of speculation: what is read from a file, and what a model is asked."""

import json

import pytest

from slipstream.apps.bench.prompt_files import read_prompts
from slipstream.apps.bench.prompt_tokens import encode_prompts
from slipstream.runtime.errors import OptionError
from slipstream.runtime.llm import LLM
from support.command_line import write_chat_model
from support.prompt_files import CHAT, CODE, write_lines, write_prompts
from support.tiny_gguf import write_tiny_model

REQUEST = "Complete this function. Reply with the full code only.\n\n"


@pytest.fixture
def prompts(tmp_path):
    return write_prompts(tmp_path / "prompts.jsonl")


def test_both_forms_are_read_in_order(tmp_path):
    write_lines(tmp_path / "code.jsonl", CODE)
    (tmp_path / "chat.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(CHAT).encode() + b"\r\n\n")
    code, chat = read_prompts([tmp_path / "code.jsonl", tmp_path / "chat.jsonl"])
    assert (code.category, code.message, code.text) == (
        "humaneval",
        REQUEST + CODE["prompt"],
        CODE["prompt"],
    )
    assert (chat.category, chat.message, chat.text) == ("writing", *CHAT["turns"][:1] * 2)
    assert chat.place == f"{tmp_path / 'chat.jsonl'}, line 1"


def test_a_limit_is_for_each_category_over_all_files(tmp_path, prompts):
    write_lines(tmp_path / "more.jsonl", CHAT, CODE, CODE)
    read = read_prompts([prompts, tmp_path / "more.jsonl"], limit=2)
    assert [each.category for each in read] == [
        "humaneval",
        "writing",
        "qa",
        "writing",
        "humaneval",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "is not JSON in UTF-8"),
        (b"\xff\xfe", "is not JSON in UTF-8"),
        (b"[" * 100_000, "is not JSON in UTF-8"),
        (b"1" * 5000, "is not JSON in UTF-8"),
        (b" " * (1 << 20) + b"{}", "is too long: expected at most 1,048,576 bytes"),
        (b"[]", 'expected an object with "task_id" and "prompt", as in HumanEval'),
        (b'{"prompt": "x"}', "got {'prompt': 'x'}"),
        (b'{"task_id": "x", "prompt": 7}', '"prompt" to be a text that is not empty, got 7'),
        (b'{"task_id": "x", "prompt": " "}', "to be a text that is not empty, got ' '"),
        (b'{"category": "qa", "turns": []}', '"turns" to be a list of texts, got []'),
        (b'{"category": "qa", "turns": "hi"}', '"turns" to be a list of texts'),
        (b'{"category": "qa", "turns": [null]}', 'the first of "turns" to be a text'),
        (b'{"category": 1, "turns": ["x"]}', '"category" to be a text'),
        (b'{"category": "\\u001b[2J", "turns": ["x"]}', "at most 40 printable characters"),
        (b'{"category": "%s", "turns": ["x"]}' % (b"q" * 41), "at most 40 printable characters"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, problem):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(json.dumps(CHAT).encode() + b"\n" + line + b"\n")
    with pytest.raises(OptionError) as refusal:
        read_prompts([path])
    text = str(refusal.value)
    assert text.startswith(f"{path}, line 2")
    assert problem in text
    assert text.isprintable()
    assert len(text) < 400 + len(str(path))


def test_files_that_hold_nothing_or_are_none(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(OptionError, match="is empty; expected on each line"):
        read_prompts([tmp_path / "empty.jsonl"])
    for path in (tmp_path, tmp_path / "missing.jsonl"):
        with pytest.raises(OptionError, match=r"can't be read .*; expected a JSONL file"):
            read_prompts([path])


def test_chat_models_are_asked_and_others_continue(tmp_path, roomy, prompts):
    model = tmp_path / "chat.gguf"
    write_chat_model(model)
    read = read_prompts([prompts])
    asked = encode_prompts(model, read, 10)
    with LLM(model) as llm:
        want = [llm.chat_tokens([{"role": "user", "content": each.message}]) for each in read]
        assert asked.tokens == want
        assert asked.end_ids == llm.tokenizer.end_ids
    assert asked.categories == ["humaneval", "writing", "qa", "writing"]
    assert asked.longest == max(map(len, [asked.warm_up, *want]))
    assert asked.warm_up not in want
    write_tiny_model(tmp_path / "base.gguf", architecture="qwen2")
    continued = encode_prompts(tmp_path / "base.gguf", read, 10)
    with LLM(tmp_path / "base.gguf") as llm:
        assert continued.tokens == [llm.tokenize(each.text) for each in read]
