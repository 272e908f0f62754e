"""A benchmark's figures, as a mapping for JSON and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slipstream.apps.bench.ceilings import Ceilings, Shares
from slipstream.apps.bench.cold_start import ColdStart
from slipstream.apps.bench.curves import Curves
from slipstream.apps.bench.speed import Side, Spread
from slipstream.apps.bench.surroundings import surroundings
from slipstream.apps.bench.workload import Workload
from slipstream.offload.machine import Machine
from slipstream.offload.units import format_bytes
from slipstream.runtime.completion import Timings

SPEEDS = ("prefill_tok_per_s", "decode_tok_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class SideResult:
    """What one side did with one model."""

    version: str
    load_s: float
    first_token_s: Spread
    prefill_tok_per_s: Spread
    decode_tok_per_s: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """One model's figures, by the side's name in the order in which they took turns."""

    model: str
    file_bytes: int
    sides: Mapping[str, SideResult]
    curves: Mapping[str, Curves] | None = None
    cold_starts: Mapping[str, ColdStart] | None = None
    shares: Shares | None = None  # of the machine's ceilings, our side's

    @property
    def ratios(self) -> dict[str, float]:
        """The first side's median speed over the second's; empty with one side."""
        if len(self.sides) < 2:
            return {}
        ours, other = list(self.sides.values())[:2]
        return {
            speed: getattr(ours, speed).median / getattr(other, speed).median for speed in SPEEDS
        }


def summarise(
    model: str, path: Path, sides: Sequence[Side], runs: Mapping[str, Sequence[Timings]]
) -> ModelResult:
    """The spreads of a model's runs."""
    results = {}
    for side in sides:
        own = runs[side.name]
        results[side.name] = SideResult(
            version=side.version,
            load_s=own[0].load_s,
            first_token_s=Spread.of([run.prefill_s for run in own]),
            prefill_tok_per_s=Spread.of([run.prefill_tok_per_s for run in own]),
            decode_tok_per_s=Spread.of([run.decode_tok_per_s for run in own]),
        )
    return ModelResult(model=model, file_bytes=path.stat().st_size, sides=results)


def report(
    results: Sequence[ModelResult],
    workload: Workload,
    machine: Machine,
    ceilings: Ceilings,
    *,
    command: str,
    measured_at: str,
) -> dict[str, Any]:
    """Everything that somebody needs to judge and repeat the figures."""
    return {
        **surroundings(machine, command=command, measured_at=measured_at),
        "ceilings": asdict(ceilings),
        "workload": asdict(workload),
        "results": [{**asdict(result), "ratios": result.ratios} for result in results],
    }


def rows(result: ModelResult) -> list[tuple[str, ...]]:
    """A table of one model, its heading first: medians, and the lowest to the highest."""
    table: list[tuple[str, ...]] = [
        (result.model, "prefill tok/s", "decode tok/s", "first token s", "load s")
    ]
    for name, side in result.sides.items():
        table.append(
            (
                name,
                _show(side.prefill_tok_per_s, ".1f"),
                _show(side.decode_tok_per_s, ".1f"),
                _show(side.first_token_s, ".3f"),
                f"{side.load_s:.2f}",
            )
        )
    if result.ratios:
        table.append(("ratio", *(f"{result.ratios[speed]:.2f}" for speed in SPEEDS), "", ""))
    if result.shares:
        dots, reads = result.shares.prefill_of_dot_peak, result.shares.decode_of_read_bandwidth
        table.append(("of the ceiling", f"{dots:.0%}", f"{reads:.0%}", "", ""))
    return table


def cold_rows(starts: Mapping[str, ColdStart]) -> list[tuple[str, ...]]:
    """A table of cold starts."""
    table: list[tuple[str, ...]] = [("fresh process", "load to first token s", "peak memory")]
    for name, start in starts.items():
        table.append((name, f"{start.first_token_s:.2f}", format_bytes(start.peak_bytes)))
    return table


def _show(spread: Spread, style: str) -> str:
    return f"{spread.median:{style}} ({spread.lowest:{style}} to {spread.highest:{style}})"
