"""What drafts gain, as the README's tables and as a plot, from results/speculation_*.json."""

from collections.abc import Sequence
from typing import Any

from bar_plot import bar_plot

OFF, PLAIN = "slipstream off", "llama.cpp"
THEIR_DRAFTS = {"llama.cpp lookup": "its lookup", "llama.cpp draft": "its draft model"}


def speculation_table(report: dict[str, Any]) -> str:
    """Each model's categories, all its prompts, and the means of the categories' ratios."""
    drafting = _drafting_sides(report)
    heads = ["model", "category", "prompts", "without drafts"]
    for side in drafting:
        heads += [_short(side), "speed-up", "tokens a step"]
    theirs = _their_sides(report)
    if theirs:
        heads += ["llama.cpp", *(THEIR_DRAFTS[side] for side in theirs[1:]), "ratio to llama.cpp"]
    lines = [f"| {' | '.join([*heads, 'same answers'])} |", "|---" * (len(heads) + 1) + "|"]
    for result in report["results"]:
        parts = {**result["categories"], "*all prompts*": result["overall"]}
        for category, sides in parts.items():
            cells = [f"`{result['model']}`", category, *_cells(sides, drafting, theirs)]
            lines.append(f"| {' | '.join(cells)} |")
        cells = [f"`{result['model']}`", "*mean of categories*", "", ""]
        means = result["mean_of_categories"]
        for side in drafting:
            cells += ["", _bold(means[side]["ratio_to_off"]), ""]
        cells += [""] * len(theirs)
        cells += [_bold(means[drafting[0]]["ratio_to_llama_cpp"])] if theirs else []
        lines.append(f"| {' | '.join([*cells, ''])} |")
    return "\n".join([*lines, "", _note(report, drafting, bool(theirs))])


def _cells(sides: dict[str, Any], drafting: list[str], theirs: list[str]) -> list[str]:
    cells = [str(sides[OFF]["prompts"]), f"{sides[OFF]['decode_tok_per_s']:.1f}"]
    for side in drafting:
        own = sides[side]
        cells.append(f"{own['decode_tok_per_s']:.1f}")
        cells += [_bold(own["ratio_to_off"]), f"{own['tokens_per_step']:.2f}"]
    if theirs:
        cells += [f"{sides[side]['decode_tok_per_s']:.1f}" for side in theirs]
        cells.append(_bold(sides[drafting[0]]["ratio_to_llama_cpp"]))
    equal = [f"{sides[side]['equal_answers']} of {sides[side]['prompts']}" for side in drafting]
    return [*cells, ", ".join(equal)]


def _note(report: dict[str, Any], drafting: list[str], against: bool) -> str:
    workload, machine = report["workload"], report["machine"]
    theirs = ""
    if against:
        ours = "" if len(drafting) == 1 else f", that of {_short(drafting[0])}"
        theirs = (
            f" The ratio to llama.cpp is to its plain decoding{ours}; its lookup drafts "
            f"{workload['lookup_tokens']} tokens. {report['results'][0]['versions'][PLAIN]}."
        )
    return (
        "Decoded tokens a second, greedily, of answers with at most "
        f"{workload['decode_tokens'] + 1} tokens; sides take turns prompt by prompt in one process. "
        f"{' and '.join(workload['files'])}; {_draft(workload)}{workload['threads']} threads on "
        f"{machine['physical_cores']} cores of an {machine['cpu_name']}, {report['measured_at'][:10]}. "
        f"*Same answers*: token for token those without drafts.{theirs} `{report['command']}`"
    )


def speculation_plot(reports: Sequence[dict[str, Any]]) -> str:
    """Decode speed with drafts in multiples of the same program's without, by category: an SVG."""
    groups: dict[str, dict[str, float]] = {}
    for report in reports:
        for result in report["results"]:
            for category, sides in result["categories"].items():
                bars = groups.setdefault(category, {})
                for side in _drafting_sides(report):
                    bars[f"{result['model']}, {side}"] = sides[side]["ratio_to_off"] or 0.0
                for side in _their_sides(report)[1:]:
                    bars[f"{result['model']}, {side}"] = sides[side]["ratio_to_llama_cpp"] or 0.0
    return bar_plot(groups, x="decode speed with drafts, in multiples of without", line_at=1.0)


def _their_sides(report: dict[str, Any]) -> list[str]:
    """llama.cpp plain and with drafts; empty where it was not measured."""
    sides = report["results"][0]["overall"]
    return [side for side in (PLAIN, *THEIR_DRAFTS) if side in sides]


def _drafting_sides(report: dict[str, Any]) -> list[str]:
    return [f"slipstream {drafters}" for drafters in report["workload"]["drafters"]]


def _short(side: str) -> str:
    drafters = side.removeprefix("slipstream ")
    return "with drafts" if drafters == "auto" else f"drafts of {drafters}"


def _draft(workload: dict[str, Any]) -> str:
    return f"draft model `{workload['draft']}`; " if workload["draft"] else ""


def _bold(ratio: float | None) -> str:
    return "-" if ratio is None else f"**{ratio:.2f}**"
