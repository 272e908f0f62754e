"""Conversations become prompts as the model file's template says."""

import json
from datetime import datetime

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from slipstream.runtime.catalogue import CATALOGUE, resolve
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import CatalogueError, ChatTemplateError, CheckpointError
from slipstream.runtime.tokenizer import ChatTemplate, Tokenizer
from slipstream.runtime.tokenizer.token_roles import TokenKind
from support.vocabularies import byte_pair_metadata

HELLO = [{"role": "user", "content": "Hello"}]


def render(source: str, messages: list[object] | None = None, **variables: object) -> str:
    """A template rendered for a conversation, by default one message."""
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
    return template.render(HELLO if messages is None else messages, **variables)


def from_file(**metadata: object) -> ChatTemplate | None:
    """The template of a file with a small vocabulary."""
    special = {"<s>": TokenKind.CONTROL, "<|im_end|>": TokenKind.CONTROL}
    everything = byte_pair_metadata([], special, bos_token_id=256, eos_token_id=257)
    del everything["tokenizer.chat_template"]
    everything |= {f"tokenizer.{name}": value for name, value in metadata.items()}
    return ChatTemplate.from_metadata(everything, Tokenizer.from_metadata(everything))


def test_a_file_without_a_template_has_none() -> None:
    assert from_file() is None
    assert from_file(chat_template="") is None


def test_a_template_that_is_no_text_is_refused() -> None:
    with pytest.raises(CheckpointError, match="should be a text, got int"):
        from_file(chat_template=1)


def test_the_tokens_of_the_file_are_known_to_its_template() -> None:
    template = from_file(chat_template="{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")
    assert template.render(HELLO) == "<s>Hello<|im_end|>"
    without = ChatTemplate(
        "{{ bos_token }}|{{ bos_token is defined }}", bos_token=None, eos_token=None
    )
    assert without.render(HELLO) == "|False"


def test_chat_markup() -> None:
    source = (
        "{% for message in messages %}"
        "{% if loop.first and messages[0]['role'] != 'system' %}"
        "<|im_start|>system\nBe kind<|im_end|>\n{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    messages = [*HELLO, {"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "Bye"}]
    want = (
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
    )
    assert render(source, messages) == want + "<|im_start|>assistant\n"
    assert render(source, messages, add_generation_prompt=False) == want


def test_blocks_take_their_line_with_them() -> None:
    source = (
        "{% for m in messages %}\n  {% if true %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}\n"
    )
    assert render(source, HELLO * 2) == "Hello\nHello\n"


def test_tojson_writes_what_models_were_trained_on() -> None:
    tool = {"name": "f", "doc": "<b> & 'é' \u4f60", "z": [1, None, True], "a": 0.5}
    assert render("{{ tools[0] | tojson }}", tools=[tool]) == json.dumps(tool, ensure_ascii=False)
    assert render("{{ tools | tojson(indent=4) }}", tools=[tool]) == json.dumps(
        [tool], ensure_ascii=False, indent=4
    )
    assert render("{{ [1, 2] | tojson(separators=(',', ':')) }}") == "[1,2]"


def test_variables_are_absent_or_what_the_caller_gives() -> None:
    source = "{{ tools is none }} {{ documents is none }} {{ thinking is defined }}"
    assert render(source) == "True True False"
    assert render("{{ enable_thinking }}", enable_thinking=False) == "False"


def test_the_date_is_known() -> None:
    assert render("{{ strftime_now('%Y') }}") in {str(datetime.now().year + d) for d in (-1, 0)}


def test_a_template_refuses_a_conversation() -> None:
    with pytest.raises(ChatTemplateError, match="refuses the conversation: no system please"):
        render("{{ raise_exception('no system please') }}")


@pytest.mark.parametrize(
    ("source", "want"),
    [
        ("{% for i in range(5) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"),
        ("{% for i in [1, 2] %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "2"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}!", "Hello!"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
         "{{ ns.n }}", "1"),
        ("{% macro f(a, b='y') %}{{ a ~ b }}{% endmacro %}{{ f('x') }}{{ f(b=2, a=1) }}", "xy12"),
        ("{{ messages | map(attribute='content') | join(', ') | upper }}", "HELLO"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ 'a b'.split(' ')[1] + 'x'.strip() + 'ab'.replace('a', 'c') }}", "bxcb"),
        ("{{ messages[0].get('name', 'X') }}{{ messages[0].items() | list | length }}", "X2"),
        ("{{ messages[0].missing }}|{{ messages[::-1][0]['role'] }}", "|user"),
        ("{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}", "a2b1"),
        ("{{ '%s-%d' % ('a', 5) }}{{ 'x' * 3 }}{{ 7 % 4 }}{{ 2 ** 3 }}", "a-5xxx38"),
        ("{{ [1] + [2] }}{{ (1, 'a') }}{{ {'a': none} }}", "[1, 2](1, 'a'){'a': None}"),
        ("{{ 'a\nb' | indent(2) }}{{ ' c ' | trim }}{{ '{}!'.format('d') }}", "a\n  bcd!"),
        ("{% set x %}{{ 'in' }}{% endset %}{{ x }}{% filter upper %}f{% endfilter %}", "inF"),
        ("{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}x{% endcall %}", "<x>"),
        ("{{ ['b', 'a'] | sort | first }}{{ [3, 1] | sum }}{{ [1, 2] | last }}", "a42"),
        ("{{ (messages | first).content[:2] }}{{ none is none }}{{ 1 if true else 2 }}", "HeTrue1"),
        ("{% for i in [1, [2]] recursive %}{{ i if i is number else loop(i) }}{% endfor %}", "12"),
    ],
)  # fmt: skip
def test_what_real_templates_use(source: str, want: str) -> None:
    assert render(source) == want


def test_messages_may_hold_parts_tool_calls_and_more() -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "tool", "content": "1", "name": "f"},
    ]
    source = (
        "{{ messages[0].content | map(attribute='text') | join }}"
        "{{ messages[1].tool_calls[0].function.name }}{{ messages[2].name }}"
    )
    assert render(source, messages) == "abff"


def test_the_messages_of_the_caller_stay_as_they_are() -> None:
    messages = [{"role": "user", "content": "x", "parts": [1]}]
    with pytest.raises(ChatTemplateError, match="SecurityError"):
        render("{{ messages[0].update({'content': 'y'}) }}", messages)
    assert messages == [{"role": "user", "content": "x", "parts": [1]}]


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "there are no messages"),
        ("Hello", "messages should be a list of messages, got str"),
        ({"role": "user", "content": "x"}, "should be a list of messages, got dict"),
        (None, "should be a list of messages, got NoneType"),
        (["Hello"], "message 0 is not a mapping but str"),
        ([{"content": "x"}], 'message 0 has no "role" that is a text: None'),
        ([{"role": 1, "content": "x"}], 'has no "role" that is a text: 1'),
        ([{"role": "", "content": "x"}], 'has no "role"'),
        ([*HELLO, {"role": "user"}], 'message 1 has no "content" that is a text'),
        ([{"role": "user", "content": None}], 'has no "content"'),
        ([{"role": "user", "content": 7}], 'has no "content" that is a text or a list of parts: 7'),
        ([{"role": "assistant", "content": None, "tool_calls": []}], 'has no "content"'),
    ],
)
def test_messages_that_are_no_conversation(messages: object, problem: str) -> None:
    template = ChatTemplate("{{ messages }}", bos_token=None, eos_token=None)
    with pytest.raises(ChatTemplateError) as caught:
        template.render(messages)
    assert problem in str(caught.value)


def test_a_long_conversation_is_no_problem() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content | trim }}"
        "{% elif not loop.first and messages[loop.index0 - 1].role == 'user' %}"
        "{{ m.content.strip() + '\n' }}{% endif %}{% endfor %}"
    )
    messages = [{"role": r, "content": "word " * 200} for r in ("user", "assistant")] * 2000
    assert len(render(source, messages)) == 2000 * (999 + 999 + 1)


TOOL = {"type": "function", "function": {"name": "now", "parameters": {"zone": "<string>"}}}
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    *HELLO,
    {"role": "assistant", "content": "Hi \u00e9!"},
    {"role": "user", "content": "What time is it?"},
    {"role": "assistant", "content": "", "tool_calls": [{"name": "now", "arguments": {"a": [1]}}]},
    {"role": "tool", "content": "12:00"},
    {"role": "tool", "content": "13:00"},
]


@pytest.mark.model
@pytest.mark.parametrize("model", [name for name, entry in CATALOGUE.items() if entry.chat])
@pytest.mark.parametrize("length", range(1, len(CONVERSATION) + 1))
@pytest.mark.parametrize("tools", [None, [TOOL]], ids=["no tools", "tools"])
def test_real_templates_give_what_plain_jinja_gives(
    model: str, length: int, tools: list[object] | None
) -> None:
    try:
        path = resolve(model)
    except CatalogueError as error:
        pytest.skip(str(error))
    with ModelFile.open(path) as file:
        source = file.get_str("tokenizer.chat_template")
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    plain.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    messages = CONVERSATION[:length]
    want = plain.from_string(source).render(
        messages=messages, tools=tools, add_generation_prompt=True
    )
    assert render(source, messages, tools=tools) == want
    assert "Be brief." in want
