"""What answers come to: speeds, drafts and how deep these were right, and who answered alike."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from slipstream.apps.bench.speculation import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One side's answers to some prompts, in sums.

    steps             : of decoding; those over the prompts are not among them
    accepted_by_depth : at index d, drafts whose accepted path had at least d + 1 nodes
    equal_answers     : token for token those of the side that others are compared with
    """

    prompts: int
    decode_tokens: int
    decode_s: float
    steps: int
    drafted_tokens: int
    accepted_tokens: int
    verified_drafts: int
    accepted_by_depth: tuple[int, ...]
    equal_answers: int

    @classmethod
    def of(cls, answers: Sequence[Answer], compared_with: Sequence[Answer]) -> "Figures":
        """Of a side's answers, beside another's to the same prompts."""
        depths = zip_longest(*(each.accepted_by_depth for each in answers), fillvalue=0)
        decoded = sum(each.decode_tokens for each in answers)
        accepted = sum(each.accepted_tokens for each in answers)
        return cls(
            prompts=len(answers),
            decode_tokens=decoded,
            decode_s=sum(each.decode_s for each in answers),
            steps=decoded - accepted,  # each gives a token of its own beside those accepted
            drafted_tokens=sum(each.drafted_tokens for each in answers),
            accepted_tokens=accepted,
            verified_drafts=sum(each.verified_drafts for each in answers),
            accepted_by_depth=tuple(map(sum, depths)),
            equal_answers=sum(
                own.tokens == other.tokens
                for own, other in zip(answers, compared_with, strict=True)
            ),
        )

    @property
    def decode_tok_per_s(self) -> float:
        return self.decode_tokens / self.decode_s if self.decode_s > 0 else 0.0

    @property
    def tokens_per_step(self) -> float:
        return self.decode_tokens / self.steps if self.steps else 0.0

    @property
    def acceptance_by_depth(self) -> tuple[float, ...]:
        """At index d, the share of verified drafts whose accepted path had at least d + 1 nodes."""
        return tuple(count / self.verified_drafts for count in self.accepted_by_depth)


def ratio(speed: float, other: float) -> float | None:
    """None where nothing was decoded."""
    return speed / other if speed > 0 and other > 0 else None


def mean_ratio(ratios: Sequence[float | None]) -> float | None:
    """The mean of those there are."""
    known = [each for each in ratios if each is not None]
    return statistics.fmean(known) if known else None


def by_category(
    answers: Mapping[str, Sequence[Answer]], categories: Sequence[str], compared_with: str
) -> dict[str, dict[str, Figures]]:
    """Figures of each side, by category in the order of the prompts.

    answers       : of each side, one for each prompt
    categories    : of each prompt
    compared_with : side whose answers the others should equal
    """

    def chosen(side: str, category: str) -> list[Answer]:
        own = zip(answers[side], categories, strict=True)
        return [answer for answer, its_category in own if its_category == category]

    return {
        category: {
            side: Figures.of(chosen(side, category), chosen(compared_with, category))
            for side in answers
        }
        for category in dict.fromkeys(categories)
    }
