"""Prints and writes how far our logits agree with llama.cpp's and with the exact ones.

    python benchmarks/parity.py [MODEL ...]

Needs the models (`slipstream pull`) and llama-cpp-python. Writes benchmarks/results/parity.json;
models that are not named keep their earlier figures there.
"""

import dataclasses
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from slipstream.offload.machine import probe
from slipstream.runtime.catalogue import resolve
from support.parity import FREE_TEXTS, MODELS, text_names
from support.parity_measure import Comparison, compare

RESULTS = ROOT / "benchmarks" / "results" / "parity.json"
HEADER = (
    f"{'model':19} {'text':13} {'tokens':>6} {'KL':>8} {'top-1':>6} {'perplexity':>17} {'change':>7}"
    f" {'exact|ours':>10} {'exact|l.cpp':>11} {'ratio':>6} {'first: l.cpp':>12} {'ours':>6}"
)


def line(model: str, c: Comparison) -> str:
    """A row of the table; KL in nats, perplexity of llama.cpp and ours."""
    a, e, theirs = c.with_llama_cpp, c.with_exact, c.llama_cpp_with_exact
    return (
        f"{model:19} {c.text:13} {c.tokens:6} {a.kl:8.5f} {a.top1:6.1%} "
        f"{a.want_perplexity:8.4f} {a.got_perplexity:8.4f} {a.perplexity_change:+7.2%} "
        f"{e.kl:10.6f} {theirs.kl:11.6f} {c.error_ratio:6.3f} "
        f"{theirs.first_kl:12.4f} {e.first_kl:6.4f}"
    )


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: rounded(value)
        if isinstance(value, dict)
        else float(f"{value:.5g}")
        if isinstance(value, float)
        else value
        for name, value in values.items()
    }


def main(models: list[str]) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"models": {}}
    results["llama_cpp_python"] = version("llama-cpp-python")
    results["cpu"] = probe().cpu_name
    print(HEADER)
    for model in models or MODELS:
        rows = []
        for comparison in compare(resolve(model), (*text_names(model), *FREE_TEXTS)):
            print(line(model, comparison), flush=True)
            rows.append(
                rounded(dataclasses.asdict(comparison) | {"error_ratio": comparison.error_ratio})
            )
        results["models"][model] = rows
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
