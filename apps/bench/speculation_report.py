"""A measurement of speculation, as a mapping for JSON and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slipstream.apps.bench.answer_figures import Figures, by_category, mean_ratio, ratio
from slipstream.apps.bench.speculation import Answer, AnsweringSide
from slipstream.apps.bench.speculation_sides import LLAMA_CPP, OFF
from slipstream.apps.bench.surroundings import surroundings
from slipstream.offload.machine import Machine

RATIOS = {"ratio_to_off": OFF, "ratio_to_llama_cpp": LLAMA_CPP}  # and the side that they are to
_SHOWN_DEPTHS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationWorkload:
    """What is measured.

    files         : names of the prompts' files
    limit         : most prompts of a category
    decode_tokens : most tokens of an answer after its first
    drafters      : of each of our sides that drafts
    draft         : model that drafts, on those sides that have such a drafter
    lookup_tokens : most tokens of llama.cpp's drafts, None where it is not measured
    """

    files: tuple[str, ...]
    limit: int | None
    decode_tokens: int
    drafters: tuple[str, ...]
    draft: str | None
    lookup_tokens: int | None
    threads: int
    kv: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationResult:
    """One model's figures, by the side's name, and for categories by theirs before."""

    model: str
    file_bytes: int
    versions: Mapping[str, str]
    categories: Mapping[str, Mapping[str, Figures]]
    overall: Mapping[str, Figures]

    @property
    def ratios(self) -> tuple[str, ...]:
        """Those whose side was measured."""
        return tuple(name for name, side in RATIOS.items() if side in self.overall)

    def mean_ratios(self, side: str) -> dict[str, float | None]:
        """Means over the categories, each of which counts alike."""
        parts = [ratios(figures, side) for figures in self.categories.values()]
        return {name: mean_ratio([part[name] for part in parts]) for name in self.ratios}


def summarise(
    model: str,
    path: Path,
    sides: Sequence[AnsweringSide],
    answers: Mapping[str, Sequence[Answer]],
    categories: Sequence[str],
) -> SpeculationResult:
    """The figures of a model's answers; `categories` has that of each prompt."""
    return SpeculationResult(
        model=model,
        file_bytes=path.stat().st_size,
        versions={side.name: side.version for side in sides},
        categories=by_category(answers, categories, OFF),
        overall={side: Figures.of(own, answers[OFF]) for side, own in answers.items()},
    )


def ratios(figures: Mapping[str, Figures], side: str) -> dict[str, float | None]:
    """A side's decode speed over that of each side in RATIOS that was measured."""
    speed = figures[side].decode_tok_per_s
    return {
        name: ratio(speed, figures[other].decode_tok_per_s)
        for name, other in RATIOS.items()
        if other in figures
    }


def speculation_report(
    results: Sequence[SpeculationResult],
    workload: SpeculationWorkload,
    machine: Machine,
    *,
    command: str,
    measured_at: str,
) -> dict[str, Any]:
    """Everything that somebody needs to judge and repeat the figures."""
    return {
        **surroundings(machine, command=command, measured_at=measured_at),
        "workload": asdict(workload),
        "results": [
            {
                "model": result.model,
                "file_bytes": result.file_bytes,
                "versions": dict(result.versions),
                "categories": {
                    category: _described(figures) for category, figures in result.categories.items()
                },
                "overall": _described(result.overall),
                "mean_of_categories": {side: result.mean_ratios(side) for side in result.overall},
            }
            for result in results
        ],
    }


def _described(figures: Mapping[str, Figures]) -> dict[str, dict[str, Any]]:
    return {
        side: {
            **asdict(own),
            "decode_tok_per_s": own.decode_tok_per_s,
            "tokens_per_step": own.tokens_per_step,
            "acceptance_by_depth": own.acceptance_by_depth,
            **ratios(figures, side),
        }
        for side, own in figures.items()
    }


def speculation_rows(result: SpeculationResult) -> list[tuple[str, ...]]:
    """A table of one model, its heading first: each category's sides, all prompts, the means."""
    heads = [f"x {RATIOS[name]}" for name in result.ratios]
    table = [
        (result.model, "side", "tok/s", "tok/step", "accepted", "by depth", *heads, "same answers")
    ]
    for category, figures in [*result.categories.items(), ("all prompts", result.overall)]:
        for side, own in figures.items():
            label = f"{category} ({own.prompts})" if side == OFF else ""
            table.append((label, side, *_cells(own, ratios(figures, side))))
    for side in result.overall:
        label = "mean of categories" if side == OFF else ""
        shown = map(_show, result.mean_ratios(side).values())
        table.append((label, side, "", "", "", "", *shown, ""))
    return table


def _cells(own: Figures, its_ratios: Mapping[str, float | None]) -> tuple[str, ...]:
    depths = " ".join(f"{share:.0%}" for share in own.acceptance_by_depth[:_SHOWN_DEPTHS])
    accepted = f"{own.accepted_tokens} of {own.drafted_tokens}" if own.drafted_tokens else ""
    return (
        f"{own.decode_tok_per_s:.1f}",
        f"{own.tokens_per_step:.2f}",
        accepted,
        depths,
        *map(_show, its_ratios.values()),
        f"{own.equal_answers} of {own.prompts}",
    )


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
