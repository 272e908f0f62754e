"""How often drafters are right at equal numbers of rows, from results/draft_acceptance.json."""

from pathlib import PurePath
from typing import Any

from line_plot import Line, line_plot

DEEPEST = 5


def acceptance_table(report: dict[str, Any]) -> str:
    """Tokens a step, and the share of drafts of which so many tokens were accepted."""
    heads = ["drafters", "blocks of the draft", "tokens a step", *map(str, range(1, DEEPEST + 1))]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for result in report["results"]:
        shares = [f"{share:.0%}" for share in _shares(result)]
        cells = [result["drafters"], _blocks(result), f"**{result['tokens_per_step']:.2f}**"]
        lines.append(f"| {' | '.join([*cells, *shares])} |")
    note = (
        f"`{report['model']}`, {report['prompts']} prompts of {' and '.join(report['files'])}, which "
        f"no draft was trained on, greedy answers of {report['max_tokens']} tokens. Every step "
        f"verifies {report['results'][0]['rows']} rows and drafting counts as free, so that figures "
        f"are the drafters' own. Columns 1 to {DEEPEST}: drafts of which so many tokens were accepted "
        "or more."
    )
    return "\n".join([*lines, "", note])


def acceptance_plot(report: dict[str, Any]) -> str:
    """The shares by depth: an SVG."""
    lines = [
        Line(
            name=" ".join([result["drafters"], _blocks(result)]).strip(),
            points=[(depth, 100 * share) for depth, share in enumerate(_shares(result), start=1)],
            dashed="+" in result["drafters"],
        )
        for result in sorted(report["results"], key=_blocks)
    ]
    return line_plot(lines, x="drafted tokens accepted, at least", y="% of drafts")


def _shares(result: dict[str, Any]) -> list[float]:
    shares = result["accepted_by_depth"][:DEEPEST]
    return [*shares, *[0.0] * (DEEPEST - len(shares))]


def _blocks(result: dict[str, Any]) -> str:
    """`dovetail-2.safetensors` has two."""
    return "" if result["draft"] is None else PurePath(result["draft"]).stem.partition("-")[2]
