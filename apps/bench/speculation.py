"""How speculation is measured: the same prompts answered greedily by every side, in turns."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slipstream.apps.bench import speed
from slipstream.apps.bench.prompt_tokens import EncodedPrompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, and what became of its drafts.

    tokens            : without the one that ends it
    decode_tokens     : those after the first, the one that ends it among them
    decode_s          : from the first token to the last, drafting included
    accepted_by_depth : at index d, drafts whose accepted path had at least d + 1 nodes
    """

    tokens: tuple[int, ...]
    decode_tokens: int
    decode_s: float
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    verified_drafts: int = 0
    accepted_by_depth: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweringSide:
    """A program that has the model loaded, in one way of decoding.

    name    : what the report calls it
    version : of the program
    answer  : greedily answers a prompt with so many tokens at most
    """

    name: str
    version: str
    answer: Callable[[Sequence[int], int], Answer]


def measure_answers(
    sides: Sequence[AnsweringSide],
    prompts: EncodedPrompts,
    decode_tokens: int,
    announce: Callable[[int], None] = lambda _number: None,
) -> dict[str, list[Answer]]:
    """Each side's answers to all prompts, after one that warms it up.

    Sides take turns prompt by prompt, and who begins rotates, so that a disturbance, or what a side
    leaves behind for the next, meets all of them.

    decode_tokens : most tokens of an answer after its first
    announce      : told each prompt's number, 0 to warm up, before it is asked
    """
    answers: dict[str, list[Answer]] = {side.name: [] for side in sides}
    for number, prompt in enumerate([prompts.warm_up, *prompts.tokens]):
        announce(number)
        first = number % len(sides)
        for side in (*sides[first:], *sides[:first]):
            time.sleep(speed.REST_S)
            answer = side.answer(prompt, decode_tokens + 1)
            if number > 0:
                answers[side.name].append(answer)
    return answers
