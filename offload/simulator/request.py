"""A request from its prompt to the end of its answer, and how long it takes under a placement.

Nothing is drawn at random: a round of drafting brings the tokens that are expected of it, so an
answer takes as many rounds as that makes.
"""

from dataclasses import dataclass
from math import ceil
from typing import Self

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.options import PlacementOptions
from slipstream.offload.placement.placement import Placement
from slipstream.offload.simulator.prompt import Prompt, add_prefill, add_prefill_in_turns
from slipstream.offload.simulator.rounds import Drafting, add_plain_steps, add_rounds
from slipstream.offload.simulator.steps import PlacedParts, WorkList
from slipstream.offload.simulator.streaming import add_streamed_prefill
from slipstream.offload.simulator.timeline import Timeline
from slipstream.offload.step_times import PREFILL_TOKENS, tokens_a_round


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is simulated. Raises ValueError for numbers of tokens that make no request."""

    prompt_tokens: int
    answer_tokens: int
    draft_acceptance: float = 0.6  # the chance that the target agrees with one drafted token
    draft_depth: int = 4  # tokens drafted in a round
    chunk_tokens: int = PREFILL_TOKENS
    held_tokens: int | None = None  # taken to be in the cache all the time; None for those that are
    overlaps: bool = True  # a draft on the GPU goes on while the CPU has layers of the target
    streams_weights: bool = False  # the GPU reads the prompt, layers in RAM are copied to it

    def __post_init__(self) -> None:
        least = min(self.prompt_tokens + 1, self.answer_tokens, self.draft_depth, self.chunk_tokens)
        if least < 1 or not 0 <= self.draft_acceptance <= 1:
            raise ValueError(f"no such request: {self}")

    @classmethod
    def expected(cls, options: PlacementOptions) -> Self:
        """The usual request of these options."""
        return cls(
            prompt_tokens=options.prompt_tokens,
            answer_tokens=options.answer_tokens,
            draft_acceptance=options.draft_acceptance,
            draft_depth=options.draft_depth,
        )

    @property
    def prompt(self) -> Prompt:
        """Its prompt."""
        return Prompt(
            tokens=self.prompt_tokens,
            chunk_tokens=self.chunk_tokens,
            held_tokens=self.held_tokens,
        )

    def held_at(self, answered_tokens: float) -> int:
        """Tokens in the cache once so many of the answer are in it."""
        if self.held_tokens is not None:
            return self.held_tokens
        return self.prompt_tokens + int(answered_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRequest:
    """A request's timeline and what it adds up to."""

    timeline: Timeline
    prefill_s: float
    s_per_token: float  # of the answer
    request_s: float  # prompt and answer
    busy_shares: dict[str, float]  # of the whole time, by resource
    link_bytes_per_token: float  # of the answer, both ways
    prefill_link_bytes: int  # both ways


def simulate_request(
    parts: ModelParts,
    draft: ModelParts | None,
    machine: MachineCosts,
    placement: Placement,
    request: Request,
) -> SimulatedRequest:
    """What happens when on `machine`, under `placement`, `request` is answered; a pure function.

    Raises ValueError for a placement that uses a GPU or a draft that is not there.
    """
    works = WorkList(machine=machine)
    target = PlacedParts(name="target", parts=parts, placement=placement)
    drafter = _drafter(draft, placement)
    takes_turns = draft is not None and draft.takes_turns
    overlaps = request.overlaps and placement.draft_goes_on and not takes_turns
    prefill_ends = _add_prefill(works, target, drafter, request, overlaps)
    first_decode_work = len(works.works)
    num_tokens = _add_answer(works, target, drafter, request, overlaps, prefill_ends)
    timeline = Timeline.of(works.works)
    prefill_s = timeline.end_of(prefill_ends)
    s_per_token = (timeline.end_s - prefill_s) / num_tokens
    decode_bytes = timeline.link_bytes(first_decode_work)
    return SimulatedRequest(
        timeline=timeline,
        prefill_s=prefill_s,
        s_per_token=s_per_token,
        request_s=prefill_s + s_per_token * request.answer_tokens,
        busy_shares=timeline.busy_shares(0.0, timeline.end_s),
        link_bytes_per_token=decode_bytes / num_tokens,
        prefill_link_bytes=timeline.link_bytes() - decode_bytes,
    )


def _drafter(draft: ModelParts | None, placement: Placement) -> PlacedParts | None:
    if placement.draft_device is None:
        return None
    if draft is None:
        raise ValueError("the placement has a draft, but there is none")
    return PlacedParts.draft(draft, placement.draft_device)


def _add_prefill(
    works: WorkList,
    target: PlacedParts,
    drafter: PlacedParts | None,
    request: Request,
    overlaps: bool,
) -> tuple[int, ...]:
    """Adds the reading of the prompt by all models; the works that end it."""
    prompt = request.prompt
    if drafter is None:
        if request.streams_weights:
            return add_streamed_prefill(works, target, prompt)
        return add_prefill(works, target, prompt)
    if request.streams_weights:
        ends = add_streamed_prefill(works, target, prompt)
        return (*ends, *add_prefill(works, drafter, prompt, () if overlaps else ends))
    if overlaps:
        return (*add_prefill(works, target, prompt), *add_prefill(works, drafter, prompt))
    return add_prefill_in_turns(works, target, drafter, prompt)


def _add_answer(
    works: WorkList,
    target: PlacedParts,
    drafter: PlacedParts | None,
    request: Request,
    overlaps: bool,
    after: tuple[int, ...],
) -> float:
    """Adds the steps that write the answer; the tokens that are expected of them."""
    if drafter is None:
        add_plain_steps(works, target, request.answer_tokens, request.held_at, after)
        return request.answer_tokens
    drafting = Drafting(
        depth=request.draft_depth,
        tokens_a_round=tokens_a_round(request.draft_acceptance, request.draft_depth),
        overlaps=overlaps,
    )
    num_rounds = ceil(request.answer_tokens / drafting.tokens_a_round)
    add_rounds(works, target, drafter, drafting, num_rounds, request.held_at, after)
    return num_rounds * drafting.tokens_a_round
