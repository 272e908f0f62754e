"""The tables of the README and of docs, made from the committed results.

    python benchmarks/tables.py            prints them
    python benchmarks/tables.py --write    puts them between the pages' markers, and draws the plots

A test fails when a page shows anything else than what was measured.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import acceptance_figures
import speculation_figures
from line_plot import Line, line_plot

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PLOT = ROOT / "docs" / "verify-curve.svg"
SPECULATION_PLOT = ROOT / "docs" / "speculation.svg"
ACCEPTANCE_PLOT = ROOT / "docs" / "draft-acceptance.svg"
PAGES = (ROOT / "README.md", ROOT / "docs" / "dovetail-drafts.md")
SIDES = ("slipstream", "llama.cpp")


def speed_table() -> str:
    """Medians of both sides and their ratio, with what it takes to repeat them."""
    report = json.loads((RESULTS / "speed.json").read_text())
    lines = [
        "| model | prefill, ours | llama.cpp | ratio | decode, ours | llama.cpp | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in report["results"]:
        ours, theirs = result["sides"]["slipstream"], result["sides"]["llama.cpp"]
        cells = [f"`{result['model']}`"]
        for speed in ("prefill_tok_per_s", "decode_tok_per_s"):
            cells += [f"{side[speed]['median']:.0f}" for side in (ours, theirs)]
            cells.append(f"**{result['ratios'][speed]:.2f}**")
        lines.append(f"| {' | '.join(cells)} |")
    workload, machine, versions = report["workload"], report["machine"], report["versions"]
    lines += [
        "",
        f"Tokens a second: medians of {workload['repeats']} runs in turns (A B A B) in one process, "
        f"prompts of {workload['prefill_tokens']} tokens, {workload['decode_tokens']} decoded after "
        f"them, float16 KV cache, {workload['threads']} threads on {machine['physical_cores']} cores "
        f"of an {machine['cpu_name']} ({_vnni(machine)}, {machine['read_gb_per_s']:.0f} GB/s read). "
        f"{theirs['version']}, Python {versions['python']}, Numba {versions['numba']}, "
        f"{report['measured_at'][:10]}. `{report['command']}`",
    ]
    return "\n".join(lines)


def _vnni(machine: dict[str, Any]) -> str:
    names = {"avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI"}
    found = (name for key, name in names.items() if key in machine["instruction_sets"])
    return next(found, "no VNNI")


def parity_table() -> str:
    """How far we and llama.cpp are from the exact logits, and from each other."""
    report = json.loads((RESULTS / "parity.json").read_text())
    lines = [
        "| model | text | tokens | KL(exact, ours) | KL(exact, llama.cpp) | ratio | "
        "KL(llama.cpp, ours) | same top token | perplexity |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model, texts in report["models"].items():
        for text in texts:
            both = text["with_llama_cpp"]
            change = both["got_perplexity"] / both["want_perplexity"] - 1
            lines.append(
                f"| `{model}` | {text['text']} | {text['tokens']} | {text['with_exact']['kl']:.5f} | "
                f"{text['llama_cpp_with_exact']['kl']:.5f} | **{text['error_ratio']:.2f}** | "
                f"{both['kl']:.5f} | {both['top1']:.1%} | {change:+.2%} |"
            )
    lines += [
        "",
        "Mean KL divergence in nats over the tokens of a text. *Exact* is a float64 forward of the "
        "dequantised weights, written separately for the tests. A ratio below 1 means closer to it "
        f"than llama.cpp. llama-cpp-python {report['llama_cpp_python']}; `python benchmarks/parity.py`",
    ]
    return "\n".join(lines)


def starts_table() -> str:
    """From nothing to the first token, and the most memory taken."""
    report = json.loads((RESULTS / "speed.json").read_text())
    lines = [
        "| model | file | load to first token, ours | llama.cpp | ratio | peak memory, ours | llama.cpp |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in report["results"]:
        ours, theirs = (result["cold_starts"][side] for side in ("slipstream", "llama.cpp"))
        ratio = ours["first_token_s"] / theirs["first_token_s"]
        lines.append(
            f"| `{result['model']}` | {result['file_bytes'] / 1e6:.0f} MB | "
            f"{ours['first_token_s']:.2f} s | {theirs['first_token_s']:.2f} s | **{ratio:.2f}** | "
            f"{ours['peak_bytes'] / 1e6:.0f} MB | {theirs['peak_bytes'] / 1e6:.0f} MB |"
        )
    lines += [
        "",
        "Medians of fresh processes in turns, imports left out; kernels already compiled.",
    ]
    return "\n".join(lines)


def long_context_table() -> str:
    """Decoding after many tokens, keys and values in 8 bits on both sides."""
    report = json.loads((RESULTS / "long_context.json").read_text())
    lines = ["| model | context | ours | llama.cpp | ratio |", "|---|---|---|---|---|"]
    for result in report["results"]:
        sides = [result["curves"][side]["deep_decode_tok_per_s"] for side in SIDES]
        for depth in sides[0]:
            ours, theirs = (side[depth]["median"] for side in sides)
            lines.append(
                f"| `{result['model']}` | {int(depth):,} | {ours:.1f} | {theirs:.1f} | "
                f"**{ours / theirs:.2f}** |"
            )
    lines += ["", f"Decoded tokens a second. `{report['command']}`"]
    return "\n".join(lines)


def verify_plot() -> str:
    """What a forward of several rows with all their logits costs, in forwards of one: an SVG."""
    report = json.loads((RESULTS / "speed.json").read_text())
    lines = []
    for result in report["results"]:
        for side in SIDES:
            seconds = result["curves"][side]["verify_s"]
            one = seconds["1"]["median"]
            points = [(int(rows), each["median"] / one) for rows, each in seconds.items()]
            lines.append(
                Line(name=f"{result['model']}, {side}", points=points, dashed=side != SIDES[0])
            )
    return line_plot(lines, x="rows in one forward, all logits", y="cost in forwards of one row")


def speculation_table() -> str:
    """What drafts gain, by category, and the plot of it."""
    tables = [speculation_figures.speculation_table(report) for report in _speculation()]
    plot = f"![Speed-up by drafts, by category](docs/{SPECULATION_PLOT.name})"
    return "\n\n".join([plot, *tables])


def speculation_plot() -> str:
    """Speed-up by drafts, by category: an SVG."""
    return speculation_figures.speculation_plot(_speculation())


def _speculation() -> list[Any]:
    """One report for each kind of prompts."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("speculation_*.json"))]


def acceptance_table() -> str:
    """How often drafts of all depths are right, and the plot of it."""
    table = acceptance_figures.acceptance_table(_acceptance())
    return f"![Accepted tokens by depth]({ACCEPTANCE_PLOT.name})\n\n{table}"


def acceptance_plot() -> str:
    """How often drafts of all depths are right: an SVG."""
    return acceptance_figures.acceptance_plot(_acceptance())


def _acceptance() -> Any:
    return json.loads((RESULTS / "draft_acceptance.json").read_text())


TABLES = {
    "speed": speed_table,
    "starts": starts_table,
    "long context": long_context_table,
    "speculation": speculation_table,
    "parity": parity_table,
    "draft acceptance": acceptance_table,
}
PLOTS = {
    PLOT: verify_plot,
    SPECULATION_PLOT: speculation_plot,
    ACCEPTANCE_PLOT: acceptance_plot,
}


def filled(text: str) -> str:
    """A page with each table between its markers, if it has them."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        if begin in text:
            head, rest = text.split(begin)
            text = head + begin + make() + end + rest.split(end, 1)[1]
    return text


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        for page in PAGES:
            page.write_text(filled(page.read_text()))
        for path, draw in PLOTS.items():
            path.write_text(draw())
    else:
        print("\n\n".join(make() for make in TABLES.values()))
