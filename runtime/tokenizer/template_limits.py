"""How much a chat template may do and make: templates come with model files and may be hostile."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from slipstream.runtime.errors import ChatTemplateError

MAX_STEPS = 1_000_000
MAX_SECONDS = 10.0
MAX_CHARACTERS = 1 << 28  # of all texts that one rendering makes, the prompt and those on the way
_CHARACTERS_PER_ITEM = 4  # what an entry of a list counts for
_MAX_INTEGER_BITS = 256

# A field of a format that is padded to 10,000 characters or more, or to as many as another
# argument says.
_LONG_PERCENT_FIELD = re.compile(r"%(?:\([^)]*\))?[^a-zA-Z%]*(?:\d{5}|\*)")
_LONG_BRACE_FIELD = re.compile(r"\{[^{}]*:[^{}]*(?:\d{5}|\{)")

# These do not make a text of what a list holds, so its length is not counted through for them.
_LIST_FILTERS = {
    *("attr", "count", "d", "default", "dictsort", "first", "groupby", "items", "join", "last"),
    *("length", "list", "map", "max", "min", "random", "reject", "rejectattr", "reverse"),
    *("select", "selectattr", "sort", "sum", "unique"),
}

_Item = TypeVar("_Item")


class _Budget:
    """What one rendering may still use."""

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.characters = MAX_CHARACTERS
        self.deadline = time.monotonic() + MAX_SECONDS


_current: ContextVar[_Budget] = ContextVar("template budget")


@contextmanager
def budget() -> Iterator[None]:
    """Gives a rendering its steps, its time and its texts."""
    token = _current.set(_Budget())
    try:
        yield
    finally:
        _current.reset(token)


def step() -> None:
    """Count one step. Raises ChatTemplateError when there is none left, or no time."""
    current = _current.get()
    current.steps -= 1
    if current.steps < 0:
        raise ChatTemplateError(f"the chat template takes more than {MAX_STEPS:,} steps")
    if current.steps % 64 == 0 and time.monotonic() > current.deadline:
        raise ChatTemplateError(f"the chat template takes more than {MAX_SECONDS:g} seconds")


def made(value: _Item) -> _Item:
    """Count a value that was made. Raises ChatTemplateError when there is too much."""
    size = _size(value)
    _check_room(size)
    _current.get().characters -= size
    return value


def made_each(values: Iterable[_Item]) -> Iterator[_Item]:
    """Count the values as they are made."""
    return map(made, values)


def check_printed(*values: object) -> None:
    """Raise ChatTemplateError for values that are too long as text, with all that they hold.

    A list is short in memory if it holds the same long text many times, but not when printed.
    """
    room = _current.get().characters
    waiting = list(values)
    while waiting and room >= 0:
        value = waiting.pop()
        room -= 1 + _size(value)
        if isinstance(value, list | tuple | dict):
            step()
            waiting.extend(value)
            if isinstance(value, dict):
                waiting.extend(value.values())
    _check_room(_current.get().characters - room)


def check_operands(operator: str, left: Any, right: Any) -> None:
    """Raise ChatTemplateError for an operation whose result would be huge."""
    if operator == "%" and isinstance(left, str):
        _check_fields(_LONG_PERCENT_FIELD, left)
        check_printed(right)
    if operator == "+":
        _check_room(_size(left) + _size(right))
    for one, other in ((left, right), (right, left)):
        if operator == "*" and isinstance(one, int):
            _check_room(one * _size(other))
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
        _check_room(length(*args, **kwargs))
    if name in ("format", "format_map") and args:
        for field in (_LONG_PERCENT_FIELD, _LONG_BRACE_FIELD):
            _check_fields(field, str(args[0]))
    if name not in _LIST_FILTERS:
        check_printed(*args)


def _replaced_length(text: str, old: str, new: str, count: int | None = None) -> int:
    times = str(text).count(str(old))
    if count is not None and count >= 0:
        times = min(times, count)
    return len(text) + times * len(str(new))


def _joined_length(items: Iterable[Any], d: str = "", attribute: object = None) -> int:
    del attribute
    check_printed(items)
    return sum(len(str(d)) + _size(item) for item in items)


def _indented_length(text: str, width: int | str = 4, *_: bool, **__: bool) -> int:
    added = width if isinstance(width, int) else len(width)
    return len(text) + (str(text).count("\n") + 1) * added


_RESULT_LENGTHS: Mapping[str, Callable[..., int]] = {
    "replace": _replaced_length,
    "join": _joined_length,
    "indent": _indented_length,
}


def _size(value: object) -> int:
    """How many characters a value counts for, without what it refers to."""
    if isinstance(value, str):
        return len(value)
    return _CHARACTERS_PER_ITEM * len(value) if isinstance(value, list | tuple | dict) else 0


def _check_room(size: int) -> None:
    if size > _current.get().characters:
        raise ChatTemplateError(
            f"the chat template makes texts of more than {MAX_CHARACTERS:,} characters"
        )


def _check_fields(long_field: re.Pattern[str], text: str) -> None:
    if long_field.search(text):
        raise ChatTemplateError("the chat template pads a text to more than 9,999 characters")
