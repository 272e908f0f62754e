"""What a generation took, as lines for people and as a mapping for JSON."""

from dataclasses import asdict
from typing import Any

from slipstream.offload.plan import Plan
from slipstream.offload.table import aligned
from slipstream.offload.units import format_bytes
from slipstream.runtime.completion import Completion


def timing_lines(completion: Completion, plan: Plan) -> list[str]:
    """Seconds, tokens and speeds, then the plan's prediction beside what was measured."""
    timings, stats = completion.timings, completion.stats
    rows = [
        ("load", f"{timings.load_s:.2f} s", ""),
        (
            "prefill",
            f"{timings.prefill_s:.2f} s",
            f"{timings.prefill_tokens} tokens, {timings.prefill_tok_per_s:.1f} tok/s; "
            f"{stats['reused_tokens']} more were in the KV cache",
        ),
        (
            "decode",
            f"{timings.decode_s:.2f} s",
            f"{timings.decode_tokens} tokens, {timings.decode_tok_per_s:.1f} tok/s",
        ),
    ]
    accepted = stats.get("accepted_tokens", 0)
    tokens_a_step = timings.decode_tokens / max(1, timings.decode_tokens - accepted)
    if "drafted_tokens" in stats:
        drafted = f"{stats['drafted_tokens']} tokens"
        by_drafter = stats["accepted_by_drafter"].items()
        whose = ", ".join(f"{name} {count}" for name, count in by_drafter) or "0"
        rows.append(("drafts", drafted, f"accepted: {whose}; {tokens_a_step:.2f} tokens a step"))
    if "draft_note" in stats:
        rows.append(("draft", "", stats["draft_note"]))
    if stats["link_bytes"]:
        each = format_bytes(stats["link_bytes"] / max(1, stats["steps"]))
        rows.append(("link", format_bytes(stats["link_bytes"]), f"{each} a step"))
    if stats["streamed_tokens"]:
        streaming = None if plan.placement is None else plan.placement.streaming
        planned = "" if streaming is None else f", {streaming.least_rows} planned"
        least_rows = stats["streaming_rows"]
        pays = "pays no more" if least_rows is None else f"pays from {least_rows} in a step"
        streamed = f"{stats['streamed_tokens']} tokens"
        rows.append(("streamed", streamed, f"of the prompt; {pays}{planned}"))
    lines = aligned(rows)
    if timings.decode_tokens and plan.placement is not None:
        compared = plan.placement.compare(
            prefill_tok_per_s=timings.prefill_tok_per_s,
            decode_tok_per_s=timings.decode_tok_per_s,
            vram_bytes=stats["vram_bytes"],
        )
        lines += ["", *compared]
    elif timings.decode_tokens:
        held = stats["prompt_tokens"] + timings.decode_tokens // 2
        speed = timings.decode_tok_per_s
        lines += ["", *plan.compare(speed, context_tokens=held, tokens_a_step=tokens_a_step)]
    return lines


def completion_dict(completion: Completion) -> dict[str, Any]:
    """The completion and its speeds, ready for JSON."""
    timings = completion.timings
    return {
        "text": completion.text,
        "token_ids": list(completion.token_ids),
        "finish_reason": completion.finish_reason,
        "timings": {
            **asdict(timings),
            "prefill_tok_per_s": timings.prefill_tok_per_s,
            "decode_tok_per_s": timings.decode_tok_per_s,
        },
        "stats": dict(completion.stats),
    }
