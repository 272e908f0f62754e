"""Templates come with model files: a bad one ends in one clear error, soon and in little memory."""

import time
import tracemalloc

import pytest

from slipstream.runtime.errors import ChatTemplateError
from slipstream.runtime.tokenizer import ChatTemplate
from slipstream.runtime.tokenizer import template_limits as limits

HELLO = [{"role": "user", "content": "Hello"}]
MAX_STEPS, MAX_CHARACTERS = 20_000, 1 << 22
MAX_SECONDS = limits.MAX_SECONDS + 5
MAX_BYTES = 1 << 27


@pytest.fixture(autouse=True)
def smaller_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits, reached sooner."""
    monkeypatch.setattr(limits, "MAX_STEPS", MAX_STEPS)
    monkeypatch.setattr(limits, "MAX_CHARACTERS", MAX_CHARACTERS)


def refusal(source: str) -> str:
    """What the error says."""
    template = ChatTemplate(source, bos_token=None, eos_token=None)
    with pytest.raises(ChatTemplateError) as caught:
        template.render(HELLO)
    return str(caught.value)


STEPS = f"more than {MAX_STEPS:,} steps"
LONG = f"texts of more than {MAX_CHARACTERS:,} characters"
PADS = "pads a text to more than 9,999 characters"
LARGE = "number that is too large"
DENIED = "SecurityError"
DEEP = "nested too deep"

LOOP = "{% for i in range(99999) %}"
DOUBLE = (
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = CHANGE %}{% endfor %}"
)
MACRO = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}"
LIST = "{% set s = 'x' * 9999 %}{% set l = [s] * 999 %}"
BLOCK = "{% set b %}" + LOOP + "{{ 'x' * 999 }}{% endfor %}{% endset %}"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (LOOP + LOOP + "{% endfor %}{% endfor %}", STEPS),
        (LOOP + LOOP + "x{% endfor %}{% endfor %}", STEPS),
        (LOOP + "{{ 'x' * 9999 }}{% endfor %}", LONG),
        (LOOP + "y" * 9999 + "{% endfor %}", LONG),
        (BLOCK, LONG),
        (MACRO, STEPS),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", DEEP),
        ("{% for i in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}", DEEP),
        ("{% for i in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}", DEEP),
        (DOUBLE.replace("CHANGE", "ns.x + ns.x"), LONG),
        (DOUBLE.replace("CHANGE", "ns.x ~ ns.x"), LONG),
        (DOUBLE.replace("CHANGE", "ns.x * 3"), LONG),
        (DOUBLE.replace("CHANGE", "[ns.x, ns.x] | join"), LONG),
        (DOUBLE.replace("CHANGE", "ns.x.replace('b', 'bbb')"), LONG),
        (DOUBLE.replace("CHANGE", "ns.x | replace('b', 'bbb')"), LONG),
        (DOUBLE.replace("CHANGE", "'%s%s' % (ns.x, ns.x)"), LONG),
        (DOUBLE.replace("CHANGE", "'{0}{0}'.format(ns.x)"), LONG),
        (DOUBLE.replace("'ab'", "[1, 2]").replace("CHANGE", "ns.x + ns.x"), LONG),
        (DOUBLE.replace("'ab'", "9").replace("CHANGE", "ns.x * ns.x"), LARGE),
        ("{{ 'x' * 10 ** 12 }}", LONG),
        ("{{ 10 ** 12 * 'x' }}", LONG),
        ("{{ [0] * 10 ** 12 }}", LONG),
        ("{{ 9 ** 9 ** 9 }}", LARGE),
        (LIST + "{{ l }}", LONG),
        (LIST + "{{ {'a': l} }}", LONG),
        (LIST + "{{ l | string }}", LONG),
        (LIST + "{{ l | tojson }}", LONG),
        (LIST + "{{ l | upper }}", LONG),
        (LIST + "{{ '' ~ l }}", LONG),
        (LIST + "{{ '%s' % l }}", LONG),
        (LIST + "{{ '{}'.format(l) }}", LONG),
        (LIST + "{% set l = [[l] * 999] * 999 %}{{ l }}", LONG),
        (LIST + "{{ l | join }}", LONG),
        (LIST + "{{ ''.join(l) }}", LONG),
        (LIST + "{{ 'x'.join(l | map('upper')) }}", LONG),
        ("{% set s = 'x' * 999999 %}{{ s.replace('x', s) }}", LONG),
        ("{% set s = 'x' * 999999 %}{{ s | replace('', s) }}", LONG),
        ("{% set s = '\n' * 999999 %}{{ s | indent(99999) }}", LONG),
        ("{{ 'x' | indent(10 ** 12, true) }}", LONG),
        ("{{ range(10 ** 9) | list }}", "OverflowError"),
        ("{{ '%999999999d' % 1 }}", PADS),
        ("{{ '%*d' % (999999999, 1) }}", PADS),
        ("{{ '%(a)999999999d' % {'a': 1} }}", PADS),
        ("{{ '%999999999d' | format(1) }}", PADS),
        ("{{ '{:999999999}'.format(1) }}", PADS),
        ("{{ '{:{}}'.format(1, 999999999) }}", PADS),
        ("{{ 'x'.center(10 ** 9) }}", DENIED),
        ("{{ 'x'.ljust(10 ** 9) }}", DENIED),
        ("{{ '\t'.expandtabs(10 ** 9) }}", DENIED),
        ("{{ '1'.zfill(10 ** 9) }}", DENIED),
        ("{{ '{a:999999}'.format_map({'a': 1}) }}", PADS),
        ("{{ 'x' | center(10 ** 9) }}", "invalid: No filter named 'center'"),
        ("{{ lipsum(10 ** 6) }}", "'lipsum' is undefined"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", DENIED),
        ("{{ raise_exception.__globals__ }}{{ raise_exception.__globals__.x }}", DENIED),
        ("{{ cycler.__init__.__globals__.os }}", DENIED),
        ("{{ messages.append(1) }}", DENIED),
        ("{{ messages[0].clear() }}", DENIED),
        ("{{ ''|attr('__class__')|attr('mro') }}{{ (''|attr('__class__')).mro() }}", DENIED),
        ("{% include 'x' %}", "no loader"),
        ("{% import 'x' as y %}", "no loader"),
        ("{% for %}", "is invalid"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", DEEP),
        ("{% if true %}" * 5000 + "{% endif %}" * 5000, DEEP),
        (LOOP * 25 + "{% endfor %}" * 25, "invalid: too many statically nested blocks"),
        ("{{ 1" + " + 1" * 5000 + " }}", DEEP),
        ("x" * 300_000, "has 300,000 characters"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ messages + 1 }}", "TypeError"),
        ("{{ messages[5].content.x }}", "UndefinedError"),
        ("{{ spend() }}{{ step() }}", "'spend' is undefined"),
        ("{% set environment = 1 %}{{ environment.step }}" + LOOP * 2 + "{% endfor %}" * 2, STEPS),
    ],
)
def test_a_hostile_template_is_stopped(source: str, problem: str) -> None:
    started = time.monotonic()
    tracemalloc.start()
    try:
        assert problem in refusal(source)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.monotonic() - started < MAX_SECONDS
    assert peak < MAX_BYTES


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.0)
    assert "more than 0 seconds" in refusal(LOOP + "{% endfor %}")


def test_every_rendering_has_its_own_budget() -> None:
    source = "{% for i in range(15000) %}{% endfor %}ok"
    template = ChatTemplate(source, bos_token=None, eos_token=None)
    for _ in range(3):
        assert template.render(HELLO) == "ok"


def test_deep_messages_are_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    template = ChatTemplate("x", bos_token=None, eos_token=None)
    with pytest.raises(ChatTemplateError, match=DEEP):
        template.render([{"role": "user", "content": deep}])
