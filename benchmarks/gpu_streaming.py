"""From how many prompt tokens on it pays to stream layers to the GPU, planned and measured.

    python benchmarks/gpu_streaming.py qwen2.5-coder-1.5b --vram 1GB

Needs a GPU, and a budget that leaves layers in RAM. Prompts of each length are read both ways, in
turns; medians. Prints a report as JSON.
"""

import argparse
import json
import statistics
import sys
from datetime import UTC, datetime
from unittest import mock

import numpy as np

from slipstream import LLM
from slipstream.apps.bench.surroundings import measured_machine, surroundings
from slipstream.offload.units import parse_bytes
from slipstream.runtime.engine.streaming_choice import StreamingChoice

LENGTHS = (16, 32, 64, 128, 256, 512)  # of a prompt that is read in one streamed step
VOCABULARY = range(1000, 20_000)  # ids of tokens that prompts are drawn from
WAYS = {"in_place": False, "streamed": True}


def read_s(llm: LLM, tokens: int, rng: np.random.Generator, *, streamed: bool) -> float:
    """Seconds in which a prompt that was never seen is read."""
    prompt = rng.integers(VOCABULARY.start, VOCABULARY.stop, tokens).tolist()
    with mock.patch.object(StreamingChoice, "pays", return_value=streamed):
        done = llm.generate(prompt, max_tokens=1, temperature=0)
    assert done.stats["streamed_tokens"] == (tokens if streamed else 0)
    return done.timings.prefill_s


def measured(llm: LLM, repeats: int) -> list[dict[str, float]]:
    """Median seconds of each length, both ways."""
    rng = np.random.default_rng(0)
    rows = []
    for tokens in LENGTHS:
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for turn in range(repeats + 1):
            for way, streamed in WAYS.items():
                taken = read_s(llm, tokens, rng, streamed=streamed)
                if turn:  # the first compiles kernels
                    seconds[way].append(taken)
        medians = {f"{way}_s": statistics.median(each) for way, each in seconds.items()}
        rows.append({"tokens": tokens, **medians})
    return rows


def crossover(rows: list[dict[str, float]]) -> float | None:
    """Tokens at which lines between the measured lengths cross; None where they do not."""
    saved = [row["in_place_s"] - row["streamed_s"] for row in rows]
    if saved[0] > 0:
        return rows[0]["tokens"]
    for i in range(1, len(rows)):
        if saved[i] > 0:
            share = -saved[i - 1] / (saved[i] - saved[i - 1])
            return rows[i - 1]["tokens"] + share * (rows[i]["tokens"] - rows[i - 1]["tokens"])
    return None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--vram", type=parse_bytes, required=True)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    machine, _ = measured_machine(None)
    with LLM(asked.model, context=asked.context, vram_bytes=asked.vram, speculate="off") as llm:
        made = llm.plan.placement
        if made is None or made.streaming is None:
            sys.exit(f"With {asked.vram:,} bytes of VRAM nothing is streamed:\n{llm.plan}")
        rows = measured(llm, asked.repeats)
        planned = made.streaming
    for row in rows:
        for way, line in (("in_place", planned.in_place), ("streamed", planned.streamed)):
            row[f"planned_{way}_s"] = line.seconds(int(row["tokens"]))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    report = surroundings(machine, command=" ".join(sys.argv), measured_at=now)
    report |= {
        "streamed_layers": planned.num_layers,
        "planned_crossover_tokens": planned.least_rows,
        "measured_crossover_tokens": crossover(rows),
        "lengths": rows,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
