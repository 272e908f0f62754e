"""What of a model lives on a GPU, what that costs, and why, as a table that people read."""

from dataclasses import dataclass

from slipstream.offload.placement.placement import VRAM_MARGIN_BYTES, Placement
from slipstream.offload.placement.streaming_plan import StreamingPlan
from slipstream.offload.step_times import PREFILL_TOKENS
from slipstream.offload.table import aligned
from slipstream.offload.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedModel:
    """A placement with its exact bytes and predicted times."""

    placement: Placement
    vram_bytes: int  # the margin included
    ram_bytes: int
    prefill_s: float  # of 512 tokens of a prompt, by the draft too where one is used
    decode_s: float  # of one token, without a draft
    s_per_token: float  # of the answer, with the draft where one is used
    workload_s: float  # of the whole prompt and answer that the options expect

    def cells(self, num_layers: int) -> list[str]:
        """The figures as a column of the plan's table."""
        placement = self.placement
        draft = "none" if placement.draft_device is None else placement.draft_device.upper()
        return [
            f"{placement.num_gpu_layers} of {num_layers}{_which(placement)}",
            "GPU" if placement.head_on_gpu else "CPU",
            draft,
            format_bytes(self.vram_bytes),
            format_bytes(self.ram_bytes),
            f"{PREFILL_TOKENS / self.prefill_s:.0f} tok/s",
            f"{1 / self.s_per_token:.1f} tok/s, {1e3 * self.s_per_token:.1f} ms a token",
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementPlan:
    """The placement taken, of all that fit. Made by `planner.plan_placement`."""

    chosen: PlacedModel
    runner_up: PlacedModel | None  # the fastest that has the head or the draft elsewhere
    num_layers: int
    vram_limit_bytes: int
    ram_limit_bytes: int
    why: tuple[str, ...]  # sentences: what each thing on the GPU brings, or why it is empty
    streaming: StreamingPlan | None = None  # for prompts; its bytes and seconds are in `chosen`

    @property
    def placement(self) -> Placement:
        """What lies where."""
        return self.chosen.placement

    @property
    def uses_gpu(self) -> bool:
        """Whether anything is on the GPU, or comes there for prompts."""
        return self.placement.uses_gpu or self.streaming is not None

    def __str__(self) -> str:
        """A table of the plan beside the runner-up, and the reasons under it."""
        names = [
            "",
            "layers on the GPU",
            "head",
            "draft",
            f"VRAM, at most {format_bytes(self.vram_limit_bytes)}",
            f"RAM, at most {format_bytes(self.ram_limit_bytes)}",
            "prefill",
            "decode",
        ]
        columns = [names, ["plan", *self.chosen.cells(self.num_layers)]]
        if self.runner_up is not None:
            columns.append(["runner-up", *self.runner_up.cells(self.num_layers)])
        rows = list(zip(*columns, strict=True))
        streaming = [] if self.streaming is None else [str(self.streaming)]
        return "\n".join([*aligned(rows), *self.why, *streaming])

    def compare(
        self, *, prefill_tok_per_s: float, decode_tok_per_s: float, vram_bytes: int
    ) -> list[str]:
        """Lines of a table with the predicted figures beside those of a run.

        vram_bytes : the most that tensors took; the margin is not among the predicted bytes here
        """
        planned_bytes = self.chosen.vram_bytes - VRAM_MARGIN_BYTES
        speeds = (
            ("prefill tok/s", PREFILL_TOKENS / self.chosen.prefill_s, prefill_tok_per_s),
            ("decode tok/s", 1 / self.chosen.s_per_token, decode_tok_per_s),
        )
        return aligned(
            [
                ("", "predicted", "actual", "actual / predicted"),
                *(
                    (what, f"{planned:.1f}", f"{actual:.1f}", f"{actual / planned:.0%}")
                    for what, planned, actual in speeds
                ),
                (
                    "VRAM",
                    format_bytes(planned_bytes),
                    format_bytes(vram_bytes),
                    f"{vram_bytes / planned_bytes:.0%}",
                ),
            ]
        )


def _which(placement: Placement) -> str:
    """The layers on the GPU, from 0 on, if there are any."""
    runs = [
        f"{first} to {last}" if first < last else str(first)
        for first, last in placement.gpu_ranges()
    ]
    return f": {', '.join(runs)}" if runs else ""
