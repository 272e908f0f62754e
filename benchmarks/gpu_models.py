"""A model with more and more of it on the GPU, beside the CPU alone; prints a report as JSON.

    python benchmarks/gpu_models.py smollm2-135m --vram 0 600MB 1GB --prompts humaneval.jsonl
    python benchmarks/gpu_models.py qwen2.5-coder-1.5b --draft qwen2.5-coder-0.5b --vram 0 3GB ...

Needs a GPU for budgets other than 0. Budgets are taken one after another in one process; the first
run of each prompt is not counted. `plain` is decoding without drafts on the CPU alone.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipstream import LLM
from slipstream.apps.bench.prompt_files import read_prompts
from slipstream.apps.bench.prompt_tokens import encode_prompts
from slipstream.apps.bench.surroundings import measured_machine, surroundings
from slipstream.offload.placement.placement import VRAM_MARGIN_BYTES
from slipstream.offload.step_times import PREFILL_TOKENS
from slipstream.offload.units import parse_bytes

CONTEXT = 4096  # tokens


def side(model: str, prompts: Sequence[list[int]], max_tokens: int, **options: Any) -> Any:
    """Answers and figures of one LLM, over all prompts."""
    reset_peak()
    with LLM(model, context=CONTEXT, **options) as llm:
        llm.generate(prompts[0], max_tokens=8, temperature=0)
        done = [llm.generate(each, max_tokens=max_tokens, temperature=0) for each in prompts]
        placement = llm.plan.placement
    tokens = sum(each.timings.decode_tokens for each in done)
    figures: dict[str, Any] = {
        "options": options,
        "prefill_tok_per_s": sum(each.timings.prefill_tokens for each in done)
        / sum(each.timings.prefill_s for each in done),
        "decode_tok_per_s": tokens / sum(each.timings.decode_s for each in done),
        "link_bytes_per_token": sum(each.stats["link_bytes"] for each in done) / tokens,
        "vram_peak_bytes": max(each.stats["vram_bytes"] for each in done),
    }
    if placement is not None:
        chosen = placement.chosen
        figures |= {
            "gpu_layers": chosen.placement.num_gpu_layers,
            "head_on_gpu": chosen.placement.head_on_gpu,
            "draft_device": chosen.placement.draft_device,
            "vram_planned_bytes": chosen.vram_bytes - VRAM_MARGIN_BYTES,
            "predicted_decode_tok_per_s": 1 / chosen.s_per_token,
            "predicted_prefill_tok_per_s": PREFILL_TOKENS / chosen.prefill_s,
            "streamed_tokens": sum(each.stats["streamed_tokens"] for each in done),
        }
    return [each.token_ids for each in done], figures


def reset_peak() -> None:
    """Forget what earlier sides took of the GPU's memory."""
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--draft")
    parser.add_argument("--vram", type=parse_bytes, nargs="+", required=True)
    parser.add_argument("--prompts", type=Path, nargs="+", required=True)
    parser.add_argument("--limit", type=int, default=5, help="prompts of each category")
    parser.add_argument("--max-tokens", type=int, default=200)
    asked = parser.parse_args()
    machine, _ = measured_machine(None)
    read = read_prompts(asked.prompts, asked.limit)
    with LLM(asked.model, context=CONTEXT) as llm:
        prompts = encode_prompts(llm.path, read, asked.max_tokens).tokens
    start = time.perf_counter()
    want, plain = side(asked.model, prompts, asked.max_tokens, speculate="off")
    sides = []
    for vram_bytes in asked.vram:
        got, figures = side(
            asked.model, prompts, asked.max_tokens, draft=asked.draft, vram_bytes=vram_bytes
        )
        figures["times_plain"] = figures["decode_tok_per_s"] / plain["decode_tok_per_s"]
        figures["equal_answers"] = sum(a == b for a, b in zip(got, want, strict=True)) / len(want)
        sides.append(figures)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    report = surroundings(machine, command=" ".join(sys.argv), measured_at=now)
    report |= {"seconds": time.perf_counter() - start, "plain": plain, "sides": sides}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
