"""Prompts of published benchmarks, read from their JSONL files and checked."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipstream.runtime.errors import OptionError

_LONGEST_LINE = 1 << 20  # bytes; the longest published one has about 20,000
_LONGEST_CATEGORY = 40  # characters, so that it fits into a table
_FORMS = (
    'an object with "task_id" and "prompt", as in HumanEval, or with "category" and "turns", as in '
    "Spec-Bench"
)
_CODE_REQUEST = "Complete this function. Reply with the full code only.\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One request.

    message : what a chat model is asked
    text    : what a model without chat template continues
    place   : its file and line
    """

    category: str
    message: str
    text: str
    place: str


def read_prompts(paths: Sequence[Path], limit: int | None = None) -> list[Prompt]:
    """The prompts of all files in their order, the first `limit` of each category.

    Raises OptionError, naming file and line, for what is neither HumanEval's form nor Spec-Bench's.
    """
    taken: Counter[str] = Counter()
    prompts = []
    for path in paths:
        found = False
        for place, record in _records(path):
            found = True
            prompt = _prompt(record, place)
            taken[prompt.category] += 1
            if limit is None or taken[prompt.category] <= limit:
                prompts.append(prompt)
        if not found:
            raise OptionError(f"{path} is empty; expected on each line {_FORMS}")
    return prompts


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """What each line holds, with its place; blank lines are left out."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                if line.strip():
                    place = f"{path}, line {number}"
                    yield place, _parsed(line, place)
    except OSError as error:
        raise OptionError(
            f"{path} can't be read ({error.strerror}); expected a JSONL file with on each line "
            f"{_FORMS}"
        ) from error


def _parsed(line: bytes, place: str) -> Any:
    if len(line) > _LONGEST_LINE:
        raise OptionError(
            f"{place} is too long: expected at most {_LONGEST_LINE:,} bytes with {_FORMS}; is the "
            "file JSONL?"
        )
    try:
        return json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = str(error).partition(";")[0]  # what follows is advice to programmers
        raise OptionError(
            f"{place} is not JSON in UTF-8 ({reason}); expected {_FORMS}; correct or remove "
            "the line"
        ) from None


def _prompt(record: Any, place: str) -> Prompt:
    if isinstance(record, Mapping) and {"task_id", "prompt"} <= record.keys():
        text = _text(record["prompt"], '"prompt"', place)
        return Prompt(category="humaneval", message=_CODE_REQUEST + text, text=text, place=place)
    if isinstance(record, Mapping) and {"category", "turns"} <= record.keys():
        turns = record["turns"]
        if not isinstance(turns, list) or not turns:
            raise _refusal('"turns" to be a list of texts', turns, place)
        text = _text(turns[0], 'the first of "turns"', place)
        return Prompt(
            category=_category(record["category"], place), message=text, text=text, place=place
        )
    raise _refusal(_FORMS, record, place)


def _text(value: Any, name: str, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _refusal(f"{name} to be a text that is not empty", value, place)
    return value


def _category(value: Any, place: str) -> str:
    text = _text(value, '"category"', place)
    if len(text) > _LONGEST_CATEGORY or not text.isprintable():
        raise _refusal(
            f'"category" to be at most {_LONGEST_CATEGORY} printable characters', value, place
        )
    return text


def _refusal(expected: str, got: Any, place: str) -> OptionError:
    shown = repr(got)  # control characters escaped
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return OptionError(f"{place}: expected {expected}, got {shown}; correct or remove the line")
