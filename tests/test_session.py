"""Chat and conversations: templates, memory, answers that are cut short or fail."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from slipstream.runtime.errors import (
    OptionError,
    PromptError,
)
from slipstream.runtime.llm import LLM
from support.tiny_gguf import write_tiny_model
from support.tiny_llm import SHORT, endless, unhurried

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")


def test_chat_is_the_template_then_text(llm: LLM) -> None:
    messages = [{"role": "user", "content": "the and"}]
    text = "<|im_start|>user\nthe and<|im_end|>\n<|im_start|>assistant\n"
    assert llm.chat_tokens(messages) == llm.tokenize(text, add_special=False, parse_special=True)
    want = llm.generate(text, max_tokens=8, temperature=0)
    assert llm.chat(messages, max_tokens=8, temperature=0).token_ids == want.token_ids
    stream = llm.chat_stream(messages, max_tokens=8, temperature=0)
    assert "".join(piece.text for piece in stream) == want.text


def test_a_prompt_begins_with_one_beginning_token(tmp_path: Path) -> None:
    """Whether or not the template writes it."""
    path = tmp_path / "gemma.gguf"
    for template in ("{{ bos_token }}{{ messages[0].content }}", "{{ messages[0].content }}"):
        write_tiny_model(path, architecture="gemma3", chat_template=template)
        with LLM(path) as llm:
            tokens = llm.chat_tokens([{"role": "user", "content": "the and"}])
            bos = llm.tokenizer.bos_id
            assert tokens[0] == bos
            assert tokens.count(bos) == 1
            assert tokens == llm.tokenize("the and")
        path.unlink()


def test_a_session_remembers(llm: LLM) -> None:
    session = llm.session("we")
    first = session.send("the and", **SHORT).completion
    want = [
        {"role": "system", "content": "we"},
        {"role": "user", "content": "the and"},
        {"role": "assistant", "content": first.text},
    ]
    assert session.messages == want
    second = session.send("on", **SHORT)
    assert "".join(piece.text for piece in second) == second.completion.text
    assert second.completion.stats["reused_tokens"] > 10  # the first turn is not computed again
    assert second.completion.text == llm.chat([*want, session.messages[3]], **SHORT).text
    assert [each["role"] for each in session.messages[3:]] == ["user", "assistant"]
    assert session.undo()
    assert session.messages == want
    assert session.undo()
    assert session.messages == want[:1]
    assert not session.undo()
    session.send("the", **SHORT).completion  # noqa: B018
    session.reset()
    assert session.messages == want[:1]


def test_an_answer_cut_short_is_remembered_as_far_as_it_got(llm: LLM) -> None:
    session = llm.session()
    with unhurried():
        reply = session.send("the", **endless(llm))
        first = next(reply)
        reply.cancel()
        done = reply.completion
    assert done.finish_reason == "cancelled"
    assert done.text.startswith(first.text)
    assert session.messages[-1] == {"role": "assistant", "content": done.text}


def test_an_answer_left_early_is_remembered_before_the_next_question(llm: LLM) -> None:
    session = llm.session()
    piece = next(session.send("the", **endless(llm)))
    session.send("and", **SHORT).completion  # noqa: B018
    assert [each["role"] for each in session.messages] == ["user", "assistant"] * 2
    assert session.messages[1]["content"].startswith(piece.text)


def test_a_reply_that_nobody_holds_any_more_stops(llm: LLM) -> None:
    with unhurried():
        stream = llm.session().send("the", **endless(llm))
        generation = stream.generation
        del stream
        assert generation.cancelled


def test_an_unread_reply_does_not_answer_a_later_question(llm: LLM) -> None:
    session = llm.session()
    with unhurried():
        old = session.send("the", **endless(llm))
        next(old)
        session.undo()
    new = session.send("and", **SHORT)
    list(old)
    assert old.completion.finish_reason == "cancelled"
    assert session.messages == [{"role": "user", "content": "and"}]
    text = new.completion.text
    assert session.messages[1:] == [{"role": "assistant", "content": text}]


def test_threads_take_turns(llm: LLM) -> None:
    """Whatever the order, each question has its answer and none of them is lost."""
    session = llm.session()
    start = threading.Barrier(4)

    def ask(name: str) -> None:
        start.wait()
        for _ in range(5):
            session.send(name, **SHORT).completion  # noqa: B018

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(ask, ["the", "and", "on", "we"]))
    roles = [each["role"] for each in session.messages]
    assert roles == ["user", "assistant"] * (len(roles) // 2)


def test_undo_of_messages_that_do_not_alternate(llm: LLM) -> None:
    session = llm.session("we")
    system = session.messages[0]
    greeting = {"role": "assistant", "content": "in"}
    first, second = ({"role": "user", "content": text} for text in ("the", "and"))
    session.messages += [greeting, first, second, greeting, greeting]
    assert session.undo()
    assert session.messages == [system, greeting]
    assert not session.undo()
    session.messages[:] = [first, {"content": "no role"}]
    assert session.undo()
    assert session.messages == []


def test_a_refused_question_is_not_among_the_messages(llm: LLM) -> None:
    session = llm.session("we")
    before = list(session.messages)
    for text, options, error in (
        ("the " * 600, {}, PromptError),
        ("the", {"top_q": 1}, OptionError),
    ):
        with pytest.raises(error):
            session.send(text, **options)
        assert session.messages == before


def test_a_question_whose_answer_failed_is_taken_back(llm: LLM) -> None:
    session = llm.session()
    banned = dict.fromkeys(range(llm.config.vocab_size), -np.inf)
    reply = session.send("the", logit_bias=banned)
    with pytest.raises(OptionError, match="ban fewer"):
        list(reply)
    assert session.messages == []
    session.send("the", logit_bias=banned)
    session.send("and", **SHORT).completion  # noqa: B018
    assert [each["content"] for each in session.messages][:1] == ["and"]
