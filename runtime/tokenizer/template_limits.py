"""How much a chat template may do and make: templates come with model files and may be hostile."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from slipstream.runtime.errors import ChatTemplateError

__all__ = [
    "bounded",
    "budget",
    "check_filter",
    "check_method",
    "check_operands",
    "checked",
    "spend",
]

MAX_CHARACTERS = 1 << 24  # of a rendered prompt, and of any text on the way to it
MAX_STEPS = 1_000_000
MAX_SECONDS = 10.0
_MAX_INTEGER_BITS = 256

# A field of a format that is padded to 10,000 characters or more, or to as many as another
# argument says.
_LONG_PERCENT_FIELD = re.compile(r"%(?:\([^)]*\))?[^a-zA-Z%]*(?:\d{5}|\*)")
_LONG_BRACE_FIELD = re.compile(r"\{[^{}]*:[^{}]*(?:\d{5}|\{)")


class _Budget:
    """What one rendering may still use."""

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.deadline = time.monotonic() + MAX_SECONDS


_current: ContextVar[_Budget] = ContextVar("template budget")


@contextmanager
def budget() -> Iterator[None]:
    """Gives a rendering its steps and its time."""
    token = _current.set(_Budget())
    try:
        yield
    finally:
        _current.reset(token)


def spend() -> None:
    """Count one step. Raises ChatTemplateError when there is none left, or no time."""
    current = _current.get()
    current.steps -= 1
    if current.steps < 0:
        raise ChatTemplateError(f"the chat template takes more than {MAX_STEPS:,} steps")
    if current.steps % 64 == 0 and time.monotonic() > current.deadline:
        raise ChatTemplateError(f"the chat template takes more than {MAX_SECONDS:g} seconds")


def bounded(texts: Iterable[str]) -> Iterator[str]:
    """The texts; raises ChatTemplateError when they are too long together."""
    total = 0
    for text in texts:
        total += len(text)
        _check_length(total)
        yield text


def checked(value: Any) -> Any:
    """The value; raises ChatTemplateError when it is a text or list that is too long."""
    if isinstance(value, str | bytes | list | tuple):
        _check_length(len(value))
    return value


def check_operands(operator: str, left: Any, right: Any) -> None:
    """Raise ChatTemplateError for an operation whose result would be huge."""
    if operator == "%" and isinstance(left, str):
        _check_fields(_LONG_PERCENT_FIELD, left)
    for one, other in ((left, right), (right, left)):
        if operator == "*" and isinstance(one, int) and isinstance(other, str | list | tuple):
            _check_length(one * len(other))
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length(), right.bit_length()
        if (operator == "*" and sum(bits) > _MAX_INTEGER_BITS) or (
            operator == "**" and right * bits[0] > _MAX_INTEGER_BITS
        ):
            raise ChatTemplateError("the chat template makes a number that is too large")


def check_method(name: str, text: str, args: Sequence[Any]) -> None:
    """Raise ChatTemplateError for a call of a text's method whose result would be huge."""
    check_filter(name, (*args, text) if name == "join" else (text, *args), {})


def check_filter(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise ChatTemplateError for a use of a filter whose result would be huge."""
    length = _RESULT_LENGTHS.get(name)
    if length is not None:
        _check_length(length(*args, **kwargs))
    if name == "format" and args:
        for field in (_LONG_PERCENT_FIELD, _LONG_BRACE_FIELD):
            _check_fields(field, str(args[0]))


def _replaced_length(text: str, old: str, new: str, count: int | None = None) -> int:
    times = str(text).count(str(old))
    if count is not None and count >= 0:
        times = min(times, count)
    return len(text) + times * len(str(new))


def _joined_length(items: Iterable[Any], d: str = "", attribute: object = None) -> int:
    del attribute
    return sum(len(str(d)) + len(item if isinstance(item, str) else "") for item in items)


def _indented_length(text: str, width: int | str = 4, *_: bool, **__: bool) -> int:
    added = width if isinstance(width, int) else len(width)
    return len(text) + (str(text).count("\n") + 1) * added


_RESULT_LENGTHS: Mapping[str, Callable[..., int]] = {
    "replace": _replaced_length,
    "join": _joined_length,
    "indent": _indented_length,
}


def _check_length(length: int) -> None:
    if length > MAX_CHARACTERS:
        raise ChatTemplateError(
            f"the chat template makes a text of more than {MAX_CHARACTERS:,} characters"
        )


def _check_fields(long_field: re.Pattern[str], text: str) -> None:
    if long_field.search(text):
        raise ChatTemplateError("the chat template pads a text to more than 9,999 characters")
