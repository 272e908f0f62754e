"""`slipstream chat` through a pipe: messages, commands, and conversations in files."""

import json

import pytest

from slipstream.apps.cli.chat import entries
from slipstream.apps.cli.chat.commands import COMMANDS, run_command
from slipstream.apps.cli.chat.conversation import Conversation
from slipstream.apps.cli.chat.entry_text import is_complete, unquoted
from slipstream.apps.cli.chat.errors import ChatInputError
from slipstream.apps.cli.chat.loop import converse
from slipstream.apps.cli.chat.transcript import load_messages, save_messages
from slipstream.runtime.errors import EngineError
from slipstream.runtime.llm import LLM
from slipstream.runtime.options import Options
from support.command_line import call, write_chat_model
from support.tiny_gguf import write_tiny_model

GREEDY = {"temperature": 0, "max_tokens": 6}
TALK = [
    {"role": "system", "content": "and"},
    {"role": "user", "content": "in the"},
    {"role": "assistant", "content": "end 🦙"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "chat.gguf"
    write_chat_model(path)
    return path


@pytest.fixture(scope="module")
def llm(model):
    with LLM.open(model, Options()) as llm:
        yield llm


@pytest.fixture
def conversation(llm):
    return Conversation(llm, system=None, sampling=dict(GREEDY))


def contents(conversation):
    return [each["content"] for each in conversation.session.messages]


def test_each_line_is_answered_in_one_conversation(capsys, model, llm):
    arguments = ["chat", "-m", model, "--temperature", 0, "--max-tokens", 6]
    outcome = call(capsys, *arguments, stdin=b"in the\n\n  and  \n/bye\nnever\n")
    session = llm.session()
    want = [session.send(text, **GREEDY).completion.text for text in ("in the", "and")]
    assert outcome.code == 0
    assert outcome.out == "".join(text + "\n" for text in want)
    assert "never" not in outcome.out + outcome.err


def test_a_line_that_fails_is_told_and_the_chat_goes_on(capsys, model, llm):
    arguments = ["chat", "-m", model, "--temperature", 0, "--max-tokens", 6]
    outcome = call(capsys, *arguments, stdin=b"/hlep\nin the")
    assert outcome.code == 1
    assert outcome.err.startswith("error: there is no command /hlep; did you mean /help?\n")
    assert outcome.out == llm.session().send("in the", **GREEDY).completion.text + "\n"


def test_a_message_that_does_not_fit_is_told_and_not_remembered(capsys, conversation):
    assert converse(conversation, ["in", "and " * 600]) == 1
    assert "fit in the context" in capsys.readouterr().err
    assert contents(conversation) == ["in", conversation.last.text]


def test_the_last_word_on_why_an_answer_ended(capsys, conversation):
    conversation.ask("in the")
    assert capsys.readouterr().err == (
        "(cut off: max_tokens or the end of the context is reached)\n"
    )


def test_base_models_are_refused_and_never_pulled_for_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
    write_tiny_model(tmp_path / "base.gguf", architecture="qwen2")
    for name in ("gemma3-270m", tmp_path / "base.gguf"):
        outcome = call(capsys, "chat", "-m", name, stdin=b"hello\n")
        assert outcome.code == 1
        assert outcome.err.startswith(f"error: {name} can't chat: it is a base model")
        assert f"slipstream run --model {name}" in outcome.err
    assert not (tmp_path / "home").exists()


def test_an_answer_that_fails_leaves_the_conversation_as_it_was(conversation, monkeypatch):
    conversation.ask("in the")
    before = contents(conversation)
    conversation.sampling = {"logit_bias": dict.fromkeys(range(conversation.llm.config.vocab_size))}
    with pytest.raises(Exception, match="logit_bias"):
        conversation.ask("and")
    monkeypatch.setattr(
        "slipstream.runtime.engine.TokenStream.__next__",
        lambda _: (_ for _ in ()).throw(EngineError()),
    )
    conversation.sampling = dict(GREEDY)
    with pytest.raises(EngineError):
        conversation.ask("and")
    with pytest.raises(EngineError):
        conversation.retry()
    assert contents(conversation) == before


def test_retry_answers_the_same_message_again(conversation):
    conversation.ask("in the")
    first = conversation.last
    conversation.ask("and")
    conversation.sampling = {**GREEDY, "max_tokens": 3}
    run_command(conversation, "/retry")
    assert contents(conversation) == ["in the", first.text, "and", conversation.last.text]
    assert len(conversation.last.token_ids) == 3


def test_undo_and_clear(conversation):
    for text in ("in the", "and"):
        conversation.ask(text)
    run_command(conversation, "/undo")
    assert contents(conversation)[0] == "in the"
    assert len(contents(conversation)) == 2
    run_command(conversation, "/clear")
    assert contents(conversation) == []
    for command in ("/undo", "/retry"):
        with pytest.raises(ChatInputError, match="there is no"):
            run_command(conversation, command)


def test_system_replaces_the_system_message_and_keeps_what_was_said(conversation):
    conversation.ask("in the")
    said = contents(conversation)
    for text in ("and", "on  and on"):
        run_command(conversation, f"/system {text}")
        assert contents(conversation) == [text, *said]
    run_command(conversation, "/clear")
    assert contents(conversation) == ["on  and on"]


def test_set_changes_options_and_refuses_nonsense(conversation):
    for line, name, value in (
        ("/set temperature 1.5", "temperature", 1.5),
        ("/set top-k 7", "top_k", 7),
        ("/set stop the end", "stop", ("the end",)),
        ('/set stop ["a", "b\\n"]', "stop", ("a", "b\n")),
        ('/set logit_bias {"5": -1}', "logit_bias", {5: -1.0}),
        ("/set temperature default", "temperature", 0.8),
    ):
        run_command(conversation, line)
        assert getattr(conversation.options, name) == value
    before = conversation.options
    for line, words in (
        ("/set temperature hot", "temperature must be"),
        ("/set top_p 3", "top_p must be"),
        ("/set temprature 1", "/set knows"),
        ("/set logprobs 3", "/set knows"),
        ("/set temperature", "/set temperature VALUE"),
        ("/set", "/set OPTION VALUE"),
    ):
        with pytest.raises((ChatInputError, ValueError), match=words):
            run_command(conversation, line)
    assert conversation.options == before


def test_help_names_every_command_and_the_way_out(capsys, conversation):
    run_command(conversation, "/help")
    shown = capsys.readouterr().err
    for command in COMMANDS:
        assert f"{command.name} {command.argument}".strip() in shown
    for word in ("/bye", "/exit", "Ctrl-D", "Alt-Enter", '"""', "Ctrl-C"):
        assert word in shown


@pytest.mark.parametrize("word", ["/bye", "/exit", "/quit"])
def test_ways_out(conversation, word):
    assert run_command(conversation, word) is False


def test_show_and_stats(capsys, conversation):
    with pytest.raises(ChatInputError, match="no answer yet"):
        run_command(conversation, "/stats")
    run_command(conversation, "/system be brief")
    conversation.ask("in the")
    capsys.readouterr()
    run_command(conversation, "/show")
    shown = capsys.readouterr().err
    for words in ("temperature", "max_tokens         6", "RAM needed", "system message: be brief"):
        assert words in shown
    run_command(conversation, "/stats")
    assert "actual / predicted" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["/clear now", "/system", "/save", "/load ", "/undo 2"])
def test_commands_written_wrongly_say_how(conversation, line):
    with pytest.raises(ChatInputError, match=f"write it as {line.split()[0]}"):
        run_command(conversation, line)


def test_saved_conversations_come_back(conversation, llm, tmp_path):
    run_command(conversation, "/system and")
    conversation.ask("in the")
    before = list(conversation.session.messages)
    run_command(conversation, f"/save {tmp_path}/my talk.json")
    other = Conversation(llm, system=None, sampling=dict(GREEDY))
    run_command(other, f"/load {tmp_path}/my talk.json")
    assert other.session.messages == before
    conversation.ask("on")
    other.ask("on")
    assert other.last.text == conversation.last.text
    run_command(other, "/clear")
    assert contents(other) == ["and"]


def test_saving_replaces_conversations_and_nothing_else(tmp_path):
    path = tmp_path / "talk.json"
    save_messages(path, TALK[:1])
    save_messages(path, TALK)
    assert load_messages(path) == TALK
    other = tmp_path / "notes.txt"
    other.write_text("precious")
    with pytest.raises(ChatInputError, match="not a saved conversation"):
        save_messages(other, TALK)
    assert other.read_text() == "precious"
    with pytest.raises(ChatInputError, match="can't be written"):
        save_messages(tmp_path / "nowhere" / "talk.json", TALK)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["notes.txt", "talk.json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not a saved conversation"),
        ("{", "not a saved conversation"),
        ("[" * 100_000, "not a saved conversation"),
        ("{}", "expected a list of messages, got dict"),
        ('["hello"]', "message 1 is not like"),
        ('[{"role": "user"}]', "message 1 is not like"),
        ('[{"role": "user", "content": 3}]', "message 1 is not like"),
        ('[{"role": "tool", "content": ""}]', "message 1 has the role 'tool'"),
        (json.dumps(TALK[2:]), "message 1 is from 'assistant'; expected 'user'"),
        (json.dumps([*TALK, TALK[2]]), "message 4 is from 'assistant'; expected 'user'"),
        (json.dumps([*TALK, TALK[0]]), "message 4 is from 'system'; expected 'user'"),
    ],
)
def test_files_that_are_no_conversations(conversation, tmp_path, content, words):
    (tmp_path / "talk.json").write_text(content)
    conversation.ask("in the")
    before = contents(conversation)
    with pytest.raises(ChatInputError, match=words):
        run_command(conversation, f"/load {tmp_path}/talk.json")
    with pytest.raises(ChatInputError, match="can't be read: No such file"):
        run_command(conversation, f"/load {tmp_path}/missing.json")
    assert contents(conversation) == before


def test_blocks_of_lines(monkeypatch):
    lines = ["one\n", '"""two\n', "/three\n", '"""\n', '"""four"""\n', '"""\n', "five"]
    monkeypatch.setattr("sys.stdin", lines)
    got = list(entries.piped_entries())
    assert [unquoted(entry) for entry in got] == ["one", "two\n/three", "four", "five"]
    assert not is_complete('"""')
    assert not is_complete('"""a\n""')
    assert is_complete('"""a\n"""\n')
    assert is_complete('say """')


def test_history_stays_private_and_its_loss_is_told(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
    entries.history().append_string("hello")
    path = tmp_path / "home" / "chat-history"
    assert "hello" in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "file"))
    entries.history().append_string("hello")
    assert "what you type is not kept" in capsys.readouterr().err
