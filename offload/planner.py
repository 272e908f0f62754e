"""Decides how a model runs on a machine: threads, context and KV cache, each with its reason."""

from collections.abc import Sequence

from slipstream.offload.errors import PlanMemoryError, PlanOptionError
from slipstream.offload.machine import Machine, explain_default_threads
from slipstream.offload.memory import ram_margin_bytes
from slipstream.offload.plan import Decision, Footprint, Plan
from slipstream.offload.units import format_bytes

SMALLEST_CONTEXT = 256  # tokens; a conversation does not fit in fewer
CONTEXT_STEP = 256  # a context cut down to the memory is a multiple of this
MAX_SEQUENCES = 8
KV_SHARE = 0.25  # of the available RAM, for the sequences after the first


def plan_cpu(
    footprint: Footprint,
    machine: Machine,
    *,
    backend: Decision,
    kv: Decision,
    speculation: Sequence[Decision] = (),
    threads: int | None = None,
    context: int | None = None,
    max_sequences: int = MAX_SEQUENCES,
) -> Plan:
    """The plan for what of a model is in RAM; a pure function, to be called before loading.

    `backend`, `kv` and `speculation` were decided by the runtime and are told with the rest.
    `threads` and `context` are met exactly, or decided here where None; `max_sequences` is 1 where
    a GPU has a share of the KV cache. Memory is never planned
    beyond what is available less a margin for other programs (`memory.ram_margin_bytes`).
    Raises PlanOptionError for a request that the machine or the model rules out, PlanMemoryError
    when the model does not fit.
    """
    margin_bytes = ram_margin_bytes(machine.ram_total_bytes)
    needed_bytes = footprint.needed_bytes(0)
    free_bytes = machine.ram_available_bytes - margin_bytes - needed_bytes
    num_threads, threads_why = _choose_threads(machine, threads)
    if context is None:
        num_tokens, context_why = _choose_context(footprint, machine, free_bytes)
    else:
        num_tokens, context_why = _check_context(footprint, machine, free_bytes, context)
    num_sequences, sequences_why = _choose_sequences(
        footprint, machine, free_bytes, num_tokens, max_sequences
    )
    return Plan(
        backend=str(backend.value),
        threads=num_threads,
        kv=str(kv.value),
        context=num_tokens,
        num_sequences=num_sequences,
        footprint=footprint,
        ram_available_bytes=machine.ram_available_bytes,
        ram_margin_bytes=margin_bytes,
        read_gb_per_s=machine.read_gb_per_s,
        decisions=(
            backend,
            Decision(what="threads", value=num_threads, why=threads_why),
            kv,
            Decision(what="context", value=num_tokens, why=context_why),
            Decision(what="sequences", value=num_sequences, why=sequences_why),
            *speculation,
        ),
    )


def _choose_threads(machine: Machine, threads: int | None) -> tuple[int, str]:
    if threads is None:
        return explain_default_threads(machine)
    if not 1 <= threads <= machine.logical_cores:
        raise PlanOptionError(
            f"threads must be between 1 and {machine.logical_cores}, the logical cores of this "
            f"machine; got {threads}."
        )
    if threads > machine.usable_logical_cores:
        return threads, (
            f"asked for, though this process may use only {machine.usable_logical_cores} "
            f"of {machine.logical_cores} logical cores"
        )
    return threads, "asked for"


def _choose_context(footprint: Footprint, machine: Machine, free_bytes: int) -> tuple[int, str]:
    """The longest context that the model was trained for and that fits in memory."""
    fits = _longest_context(footprint, free_bytes)
    if fits >= footprint.trained_context:
        return footprint.trained_context, "the whole context the model was trained for"
    smallest = min(SMALLEST_CONTEXT, footprint.trained_context)
    if fits < smallest:
        raise PlanMemoryError(
            f"The model does not fit in memory: even with a context of only {smallest:,} tokens "
            f"{_shortage(footprint, machine, smallest)}. Close other programs, or use a "
            f"smaller model or quantisation."
        )
    context = fits - fits % CONTEXT_STEP
    return context, (
        f"what fits in memory; the model was trained for {footprint.trained_context:,} tokens"
    )


def _check_context(
    footprint: Footprint, machine: Machine, free_bytes: int, context: int
) -> tuple[int, str]:
    """The context that was asked for, when the model and the memory allow it."""
    if not 1 <= context <= footprint.trained_context:
        raise PlanOptionError(
            f"context must be between 1 and {footprint.trained_context:,} tokens, for which the "
            f"model was trained; got {context:,}."
        )
    fits = _longest_context(footprint, free_bytes)
    if context > fits:
        advice = (
            f"Ask for a context of at most {fits:,} tokens, or close other programs."
            if fits >= 1
            else "Close other programs, or use a smaller model or quantisation."
        )
        raise PlanMemoryError(
            f"A context of {context:,} tokens does not fit in memory: "
            f"{_shortage(footprint, machine, context)}. {advice}"
        )
    return context, "asked for"


def _choose_sequences(
    footprint: Footprint, machine: Machine, free_bytes: int, context: int, most: int
) -> tuple[int, str]:
    """How many sequences of `context` tokens the KV cache holds: one at least, more with room."""
    if most == 1:
        return 1, "the KV cache takes VRAM too; shorter sequences share its tokens"
    kv_bytes = context * footprint.kv_bytes_per_token
    if kv_bytes == 0:
        return most, "the model keeps no KV cache"
    free_bytes -= footprint.kv_bytes(context, 0)  # the draft's
    in_share = int(machine.ram_available_bytes * KV_SHARE) // kv_bytes
    fits = min(in_share, free_bytes // kv_bytes)
    if fits >= most:
        return most, "the most that are kept, with the whole context each"
    why = f"{format_bytes(kv_bytes)} of KV cache each, and all of them may take "
    if in_share <= free_bytes // kv_bytes:
        why += f"{KV_SHARE:.0%} of the available RAM"
    else:
        why += f"{format_bytes(free_bytes)}, what is left beside the weights"
    return (fits, why) if fits > 1 else (1, f"{why}; one always has its place")


def _longest_context(footprint: Footprint, free_bytes: int) -> int:
    """Tokens that fit in the memory that weights and workspace leave; at most the trained ones."""
    if free_bytes < 0:
        return 0
    bytes_per_token = footprint.kv_bytes(1)
    if bytes_per_token == 0:
        return footprint.trained_context
    return min(footprint.trained_context, free_bytes // bytes_per_token)


def _shortage(footprint: Footprint, machine: Machine, context: int) -> str:
    """What the model takes with a context, and what a plan may take of the memory, and why."""
    margin_bytes = ram_margin_bytes(machine.ram_total_bytes)
    room_bytes = max(0, machine.ram_available_bytes - margin_bytes)
    draft = ""
    if footprint.draft is not None:
        draft = f", draft {format_bytes(footprint.draft.needed_bytes(0))}, which may be left out"
    return (
        f"it needs {format_bytes(footprint.needed_bytes(context))} "
        f"(weights {format_bytes(footprint.weights_bytes)}, "
        f"KV cache {format_bytes(footprint.kv_bytes(context))}, "
        f"workspace {format_bytes(footprint.workspace_bytes)}{draft}), but only "
        f"{format_bytes(room_bytes)} can be used ({format_bytes(machine.ram_available_bytes)} "
        f"of RAM is available, less {format_bytes(margin_bytes)} for other programs)"
    )
