"""The measured figures of a whole machine."""

from dataclasses import dataclass

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.profile.measured_costs import MeasuredDeviceCosts, MeasuredLinkCosts


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineProfile:
    """What the CPU takes, and the GPU and its link where there is one that can be used.

    Made by `profiling.measured_profile`. Raises ValueError when GPU, link and the reason why there
    is none contradict each other.
    """

    measured_at: str  # the date and time, ISO 8601, in UTC
    threads: int  # of the CPU that computed
    cpu: MeasuredDeviceCosts
    gpu: MeasuredDeviceCosts | None
    link: MeasuredLinkCosts | None
    gpu_problem: str | None  # why no GPU was measured, as a clause

    def __post_init__(self) -> None:
        if len({self.gpu is None, self.link is None, self.gpu_problem is not None}) > 1:
            raise ValueError("a profile has a GPU and its link, or a reason why it has none")

    def costs(self, *, ram_bytes: int, vram_bytes: int) -> MachineCosts:
        """Costs for planning with so much memory; the VRAM does not count without a GPU."""
        return MachineCosts(
            cpu=self.cpu,
            gpu=self.gpu,
            link=self.link,
            ram_bytes=ram_bytes,
            vram_bytes=0 if self.gpu is None else vram_bytes,
        )

    def missing(self, quant_types: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the quantisations whose products were not measured."""
        return tuple(name for name in quant_types if name not in self.cpu.products)
