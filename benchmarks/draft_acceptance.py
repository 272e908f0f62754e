"""Tokens a step that drafters bring at equal numbers of verified rows, written to results/.

    python benchmarks/draft_acceptance.py smollm2-135m --prompts FILE.jsonl --draft dovetail-1.safetensors

Every step verifies as many rows and drafting seems to cost nothing, so that figures are the drafters'
own and not the machine's: the text is greedy, and the same for all. Token recycling comes first; it
learns from prompt to prompt, as it does in use.
"""

import argparse
import json
from pathlib import Path

from slipstream import LLM
from slipstream.apps.bench.prompt_files import read_prompts
from slipstream.apps.bench.prompt_tokens import encode_prompts

RESULTS = Path(__file__).parent / "results"


class FixedCosts:
    """Steps of up to so many rows take as long as one row, larger ones for ever."""

    known, largest_known = True, 32

    def __init__(self, rows: int, seconds: float) -> None:
        self._rows, self._seconds = rows, seconds

    def observe(self, num_rows: int, seconds: float) -> None:
        pass

    def seconds(self, num_rows: int) -> float:
        return self._seconds if num_rows <= self._rows else 1e9


def measure(
    model: str,
    speculate: str,
    draft: str | None,
    rows: int,
    prompts: list[list[int]],
    max_tokens: int,
) -> dict:
    """What one set of drafters brings."""
    with LLM(model, speculate=speculate, draft=draft, context=4096) as llm:
        speculation = llm._loaded.speculation
        speculation._state.costs = FixedCosts(rows, 1.0)
        if speculation._costly is not None:
            speculation._costly._sequence.costs = FixedCosts(1 << 20, 1e-9)
            speculation._costly.account.is_worth_reading = lambda *_: True
            speculation._costly.account.took = lambda *_: None
        tokens = steps = drafted = 0
        by_depth: list[int] = []
        for prompt in prompts:
            done = llm.generate(prompt, temperature=0, max_tokens=max_tokens)
            stats = done.stats
            tokens += done.timings.decode_tokens
            steps += done.timings.decode_tokens - stats["accepted_tokens"]
            drafted += stats["verified_drafts"]
            reached = stats["accepted_by_depth"]
            by_depth += [0] * (len(reached) - len(by_depth))
            for depth, count in enumerate(reached):
                by_depth[depth] += count
    return {
        "drafters": speculate,
        "draft": None if draft is None else Path(draft).name,
        "rows": rows,
        "tokens": tokens,
        "steps": steps,
        "tokens_per_step": round(tokens / steps, 3),
        "accepted_by_depth": [round(count / drafted, 3) for count in by_depth],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--prompts", type=Path, nargs="+", required=True)
    parser.add_argument("--draft", nargs="+", default=[])
    parser.add_argument("--limit", type=int, default=4, help="prompts of each category")
    parser.add_argument("--max-tokens", type=int, default=128)
    # Fewer than 8 would make a row seem dear to the drafters, which then are not asked.
    parser.add_argument("--rows", type=int, nargs="+", default=[8], choices=[8, 12, 16, 24, 32])
    options = parser.parse_args()
    with LLM(options.model, speculate="off", context=4096) as llm:
        path = llm.path
    read = read_prompts(options.prompts, options.limit)
    prompts = encode_prompts(path, read, options.max_tokens).tokens
    results = []
    for rows in options.rows:
        sides = [("recycling", None)]
        sides += [
            (names, draft)
            for names in ("dovetail", "recycling+dovetail")
            for draft in options.draft
        ]
        for names, draft in sides:
            results.append(measure(options.model, names, draft, rows, prompts, options.max_tokens))
            print(json.dumps(results[-1]), flush=True)
    report = {
        "model": options.model,
        "files": [file.name for file in options.prompts],
        "prompts": len(prompts),
        "max_tokens": options.max_tokens,
        "results": results,
    }
    (RESULTS / "draft_acceptance.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
