"""Bad input to the command line: one line that says what to do, the right exit code, no traceback.

Exit code 1: what was asked for can't be done. Exit code 2: the command was written wrongly, or has
an option that can't be used.
"""

import dataclasses
import sys

import pytest

from slipstream.apps.cli import entry
from slipstream.offload.machine import probe
from support.command_line import Outcome, call, process, write_chat_model
from support.tiny_gguf import write_tiny_model

LONG_PROMPT = b"and in the end " * 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a tiny chat model, a base model, and files that are no models."""
    folder = tmp_path_factory.mktemp("models")
    write_chat_model(folder / "chat.gguf")
    write_tiny_model(folder / "base.gguf", architecture="qwen2")
    whole = (folder / "chat.gguf").read_bytes()
    (folder / "truncated.gguf").write_bytes(whole[: len(whole) // 2])
    (folder / "text.gguf").write_text("not a model")
    (folder / "empty.gguf").write_bytes(b"")
    (folder / "folder.gguf").mkdir()
    return folder


@pytest.fixture
def here(folder, monkeypatch, tmp_path):
    """That folder as the current one, and no model pulled."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))


def check(outcome: Outcome, code: int, *words: str) -> None:
    """The command failed with one line of error that has these words."""
    lines = outcome.err.splitlines()
    assert (outcome.code, outcome.out) == (code, "")
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("missing.gguf", ["There is no file missing.gguf"]),
        ("truncated.gguf", ["truncated.gguf", "truncated"]),
        ("text.gguf", ["not a GGUF model file"]),
        ("empty.gguf", ["empty.gguf"]),
        ("folder.gguf", ["is a folder"]),
        ("smollm2", ["did you mean 'smollm2-135m'?"]),
        ("wholly-unknown", ["known names: smollm2-135m"]),
        ("hf:bad", ["expected hf:org/repo:file.gguf"]),
        ("", ["No model is called ''"]),
    ],
)
@pytest.mark.parametrize("verb", ["run", "chat", "plan", "tokenize", "bench"])
@pytest.mark.usefixtures("here")
def test_a_model_that_can_not_be_opened(capsys, verb, model, words):
    arguments = {
        "run": ["run", "hello", "-m", model],
        "chat": ["chat", "-m", model],
        "plan": ["plan", model],
        "tokenize": ["tokenize", model, "hello"],
        "bench": ["bench", model],
    }[verb]
    check(call(capsys, *arguments, stdin=b"hello\n"), 1, *words)


@pytest.mark.parametrize("verb", ["plan", "tokenize", "bench"])
@pytest.mark.usefixtures("here")
def test_a_model_that_is_not_pulled_says_how_to_pull_it(capsys, verb):
    text = ["hello"] if verb == "tokenize" else []
    check(call(capsys, verb, "smollm2-135m", *text), 1, "`slipstream pull smollm2-135m`")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--temperature", "-1"], ["temperature", "at least 0", "-1"]),
        (["--temperature", "nan"], ["temperature", "finite"]),
        (["--top-k", "-1"], ["top_k", "-1"]),
        (["--top-p", "0"], ["top_p", "above 0"]),
        (["--min-p", "1"], ["min_p", "below 1"]),
        (["--typical-p", "2"], ["typical_p", "at most 1"]),
        (["--repeat-penalty", "0"], ["repeat_penalty"]),
        (["--presence-penalty", "9"], ["presence_penalty"]),
        (["--frequency-penalty", "-9"], ["frequency_penalty"]),
        (["--max-tokens", "0"], ["max_tokens"]),
        (["--seed", "-1"], ["seed"]),
        (["--stop", ""], ["stop"]),
        (["--threads", "0"], ["threads"]),
        (["--context", "0"], ["context"]),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_value_out_of_range_is_told_before_the_model_is_looked_for(capsys, options, words):
    for verb in (["run", "hello"], ["chat"]):
        check(call(capsys, *verb, "-m", "smollm2-135m", *options), 2, *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--threads", "9999"], ["threads must be between 1 and", "9999"]),
        (["--context", "10000000"], ["context must be between 1 and 512", "10,000,000"]),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_the_machine_or_the_model_can_not_do(capsys, options, words):
    check(call(capsys, "run", "hello", "-m", "chat.gguf", *options), 2, *words)
    check(call(capsys, "plan", "chat.gguf", *options), 2, *words)


@pytest.mark.parametrize("verb", ["plan", "bench"])
@pytest.mark.usefixtures("here")
def test_a_wrong_thread_count_has_one_exit_code(capsys, verb):
    check(call(capsys, verb, "chat.gguf", "--threads", "0"), 2, "threads")
    check(call(capsys, verb, "chat.gguf", "--threads", "9999"), 2, "threads must be between")


@pytest.mark.usefixtures("here")
def test_too_little_memory_is_told_before_loading(capsys, monkeypatch):
    small = dataclasses.replace(probe(), ram_available_bytes=300 << 20)
    monkeypatch.setattr("slipstream.runtime.planning.planner.probe", lambda: small)
    outcome = call(capsys, "run", "hello", "-m", "chat.gguf")
    check(outcome, 1, "does not fit in memory", "Close other programs")


@pytest.mark.parametrize("stdin", [b"", b"\n", b"  \n"])
@pytest.mark.usefixtures("here")
def test_an_empty_prompt(capsys, stdin):
    check(call(capsys, "run", "-m", "chat.gguf", stdin=stdin), 1, "the prompt is empty")
    check(call(capsys, "run", stdin.decode(), "-m", "chat.gguf"), 1, "the prompt is empty")


@pytest.mark.parametrize("options", [[], ["--raw"], ["--json"]])
@pytest.mark.usefixtures("here")
def test_a_prompt_longer_than_the_context(capsys, options):
    outcome = call(capsys, "run", "-m", "chat.gguf", *options, stdin=LONG_PROMPT)
    check(outcome, 1, "at most 511 fit in the context of 512")


@pytest.mark.usefixtures("here")
def test_standard_input_that_is_no_text(capsys):
    outcome = call(capsys, "run", "-m", "chat.gguf", stdin=b"caf\xe9")
    check(outcome, 1, "not UTF-8 text: byte 3 is 0xe9")


@pytest.mark.parametrize("arguments", [["run"], ["chat"], ["tokenize", "chat.gguf", "-"]])
@pytest.mark.usefixtures("here")
def test_closed_standard_input(capsys, monkeypatch, arguments):
    monkeypatch.setattr(sys, "stdin", None)
    assert entry.run(arguments) == 1
    assert "standard input is closed" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_a_system_message_without_a_template_for_it(capsys):
    outcome = call(capsys, "run", "hello", "--system", "x", "-m", "base.gguf")
    check(outcome, 2, "--system can't be used", "no chat template")
    outcome = call(capsys, "run", "hello", "--system", "x", "--raw")
    check(outcome, 2, "--system needs the chat template")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], ["No such command 'rnu'", "run", "See `slipstream --help`"]),
        (["run", "hello", "--topk", "3"], ["No such option", "--top-k", "`slipstream run --help`"]),
        (["--verbose"], ["No such option"]),
        (["run", "hello", "--temperature", "hot"], ["--temperature", "'hot'"]),
        (["run", "hello", "--top-k", "1.5"], ["--top-k", "'1.5'"]),
        (["run", "hello", "there"], ["unexpected extra argument"]),
        (["run", "hello", "-m"], ["requires an argument"]),
        (["pull"], ["Missing argument"]),
        (["rm"], ["Missing argument"]),
        (["tokenize", "chat.gguf"], ["Missing argument"]),
        (["bench", "--against", "ollama"], ["'ollama'", "llama.cpp"]),
        (["bench", "--repeat", "0"], ["--repeat"]),
    ],
)
@pytest.mark.usefixtures("here")
def test_wrong_usage(capsys, arguments, words):
    check(call(capsys, *arguments), 2, *words)


@pytest.mark.usefixtures("here")
def test_run_without_a_prompt_at_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert entry.run(["run"]) == 2
    assert "Give a PROMPT" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_a_named_cache_folder_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = str(tmp_path / "file")
    outcome = process("run", "hello", "-m", "chat.gguf", SLIPSTREAM_CACHE=cache)
    check(outcome, 2, f"SLIPSTREAM_CACHE names {cache}", "unset it")


@pytest.mark.usefixtures("here")
def test_a_models_folder_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    outcome = process("pull", "smollm2-135m", SLIPSTREAM_HOME=str(tmp_path / "file"))
    assert outcome.code == 1
    assert "can't be written" in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err


@pytest.mark.usefixtures("here")
def test_a_fault_in_the_program_is_one_line_unless_debug_is_asked_for(capsys, monkeypatch):
    def fail() -> None:
        raise ZeroDivisionError("division by\nzero")

    monkeypatch.setattr("slipstream.runtime.catalogue.list_local", fail)
    outcome = call(capsys, "list")
    check(outcome, 1, "unexpected ZeroDivisionError: division by zero", "--debug")
    with pytest.raises(ZeroDivisionError):
        call(capsys, "--debug", "list")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device"), "error: No space left on device"),
        (PermissionError(13, "Permission denied", "/x"), "error: Permission denied: /x"),
        (MemoryError(), "error: there is not enough memory"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_the_system_refuses(capsys, monkeypatch, error, line):
    def fail() -> None:
        raise error

    monkeypatch.setattr("slipstream.runtime.catalogue.list_local", fail)
    outcome = call(capsys, "list")
    assert outcome.code == 1
    assert outcome.err.startswith(line)
