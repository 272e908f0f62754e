"""`slipstream run`: what goes to standard output, and which way a prompt takes."""

import json

import pytest

from slipstream.apps.cli import console
from slipstream.runtime.llm import LLM
from slipstream.runtime.options import Options
from support.command_line import call, write_chat_model
from support.tiny_gguf import write_tiny_model

GREEDY = ("--temperature", 0, "--max-tokens", 12)


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "chat.gguf"
    write_chat_model(path)
    return path


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "base.gguf"
    write_tiny_model(path, architecture="qwen2")
    return path


@pytest.fixture(scope="module")
def answers(chat_model):
    """What the model says to "in the end", as a chat and as plain text."""
    with LLM.open(chat_model, Options()) as llm:
        messages = [{"role": "user", "content": "in the end"}]
        return {
            "chat": llm.chat(messages, temperature=0, max_tokens=12).text,
            "plain": llm.generate("in the end", temperature=0, max_tokens=12).text,
        }


@pytest.mark.parametrize(
    ("prompt", "stdin"), [("in the end", b""), ("-", b"in the end\n"), (None, b"in the end\n")]
)
def test_the_answer_and_nothing_else_goes_to_standard_output(
    capsys, chat_model, answers, prompt, stdin
):
    arguments = ["run", *([prompt] if prompt else []), "-m", chat_model, *GREEDY]
    outcome = call(capsys, *arguments, stdin=stdin)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == answers["chat"] + "\n"


def test_raw_leaves_out_the_template(capsys, chat_model, answers):
    outcome = call(capsys, "run", "in the end", "--raw", "-m", chat_model, *GREEDY)
    assert outcome.out == answers["plain"] + "\n"
    assert answers["plain"] != answers["chat"]


def test_a_base_model_completes_and_says_so(capsys, base_model):
    outcome = call(capsys, "run", "in the end", "-m", base_model, *GREEDY)
    assert outcome.code == 0
    assert "has no chat template, so it continues the prompt" in outcome.err
    with LLM.open(base_model, Options()) as llm:
        text = llm.generate("in the end", temperature=0, max_tokens=12).text
    assert outcome.out == text + "\n"


def test_json_is_one_object_with_text_timings_and_plan(capsys, chat_model, answers):
    outcome = call(capsys, "run", "in the end", "--json", "-m", chat_model, *GREEDY)
    result = json.loads(outcome.out)
    assert result["text"] == answers["chat"]
    assert result["mode"] == "chat"
    assert result["finish_reason"] == "length"
    assert len(result["token_ids"]) == 12
    assert result["timings"]["decode_tokens"] == 11
    assert result["timings"]["decode_tok_per_s"] > 0
    assert result["plan"]["context"] == 512


def test_stats_go_to_standard_error_with_predicted_beside_actual(capsys, chat_model, answers):
    outcome = call(capsys, "run", "in the end", "--stats", "-m", chat_model, *GREEDY)
    assert outcome.out == answers["chat"] + "\n"
    assert "11 tokens" in outcome.err
    assert "actual / predicted" in outcome.err


def test_every_sampling_flag_reaches_the_sampler(capsys, chat_model):
    flags = {
        "max_tokens": 5,
        "temperature": 0.5,
        "top_k": 7,
        "top_p": 0.9,
        "min_p": 0.01,
        "typical_p": 0.8,
        "repeat_penalty": 1.2,
        "repeat_last_n": 9,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.4,
        "seed": 11,
    }
    arguments = [each for name, value in flags.items() for each in (flag(name), value)]
    stops = ["--stop", "zz", "--stop", "yy"]
    outcome = call(capsys, "run", "in", "--raw", "--json", "-m", chat_model, *arguments, *stops)
    with LLM.open(chat_model, Options()) as llm:
        completion = llm.generate("in", stop=("zz", "yy"), **flags)
    assert json.loads(outcome.out)["token_ids"] == list(completion.token_ids)
    assert json.loads(outcome.out)["stats"]["seed"] == 11


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def test_system_message_changes_the_prompt(capsys, chat_model):
    plain = call(capsys, "run", "in", "--json", "-m", chat_model, *GREEDY)
    directed = call(capsys, "run", "in", "--system", "and", "--json", "-m", chat_model, *GREEDY)
    prompts = [json.loads(each.out)["stats"]["prompt_tokens"] for each in (plain, directed)]
    assert prompts[0] < prompts[1]


def test_threads_and_context_reach_the_plan(capsys, chat_model):
    arguments = ["--threads", 1, "--context", 300, "--json", "-m", chat_model, *GREEDY]
    plan = json.loads(call(capsys, "run", "in", *arguments).out)["plan"]
    assert (plan["threads"], plan["context"]) == (1, 300)


HOSTILE = "a\x1b[2Jb\x07\r\x9b1m\x7f\ttab\nline é 🦙"


def test_control_characters_reach_a_file_but_no_terminal(capsys, monkeypatch):
    console.put(HOSTILE)
    assert capsys.readouterr().out == HOSTILE
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    console.put(HOSTILE)
    assert capsys.readouterr().out == "a␛[2Jb␇␍\ufffd1m␡\ttab\nline é 🦙"


def test_errors_never_carry_control_characters(capsys):
    console.say("error: \x1b]0;title\x07")
    assert capsys.readouterr().err == "error: ␛]0;title␇\n"
