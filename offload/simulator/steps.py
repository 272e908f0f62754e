"""The works of a model's step: layers in order, and copies where the device changes."""

from dataclasses import dataclass, field

from slipstream.offload.device_costs import DeviceCosts, LinkCosts, MachineCosts
from slipstream.offload.model_parts import ModelParts
from slipstream.offload.placement.placement import Device, Placement
from slipstream.offload.simulator.event_queue import Work
from slipstream.offload.simulator.timeline import CPU, GPU, TO_CPU, TO_GPU
from slipstream.offload.step_times import FLOAT_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkList:
    """Works on a machine, as they are planned one after the other."""

    machine: MachineCosts
    works: list[Work] = field(default_factory=list)

    @property
    def gpu(self) -> DeviceCosts:
        """The machine's GPU. Raises ValueError where there is none."""
        if self.machine.gpu is None:
            raise ValueError("work for a GPU on a machine without one")
        return self.machine.gpu

    @property
    def link(self) -> LinkCosts:
        """The way to the GPU. Raises ValueError where there is none."""
        if self.machine.link is None:
            raise ValueError("a copy to or from a GPU on a machine without one")
        return self.machine.link

    def costs(self, device: Device) -> DeviceCosts:
        """What work costs on a device."""
        return self.machine.cpu if device == "cpu" else self.gpu

    def compute(
        self, device: Device, what: str, seconds: float, after: tuple[int, ...], rank: int = 0
    ) -> int:
        """Adds work of a device; its place."""
        resource = CPU if device == "cpu" else GPU
        return self._add(
            Work(resource=resource, what=what, seconds=seconds, after=after, rank=rank)
        )

    def copy(
        self, to: Device, what: str, num_bytes: int, after: tuple[int, ...], rank: int = 0
    ) -> int:
        """Adds a copy over the link; its place."""
        return self._add(
            Work(
                resource=TO_CPU if to == "cpu" else TO_GPU,
                what=what,
                seconds=self.link.seconds(num_bytes),
                after=after,
                num_bytes=num_bytes,
                rank=rank,
            )
        )

    def _add(self, work: Work) -> int:
        self.works.append(work)
        return len(self.works) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedParts:
    """A model and where its layers and its head lie."""

    name: str  # in the timeline: "target" or "draft"
    parts: ModelParts
    placement: Placement
    rank: int = 0  # of its works, where a resource has several to choose from

    @classmethod
    def draft(cls, parts: ModelParts, device: Device) -> "PlacedParts":
        """A draft model, whole on a device; the target's works go first."""
        num_layers = len(parts.layers)
        on_gpu = device == "gpu"
        placement = Placement.window(num_layers, end=num_layers * on_gpu, head_on_gpu=on_gpu)
        return cls(name="draft", parts=parts, placement=placement, rank=1)


def add_step(
    works: WorkList,
    model: PlacedParts,
    *,
    rows: int,
    head_rows: int,
    held_tokens: int,
    after: tuple[int, ...],
) -> int:
    """Adds a step of `rows` rows, from the embedding to `head_rows` rows of logits; its last work.

    The cache holds `held_tokens` tokens. Embedding and logits are on the CPU.
    """
    parts, name, tokens = model.parts, model.name, model.parts.kv_tokens(held_tokens)
    row_bytes = parts.hidden_size * FLOAT_BYTES
    here: Device = "cpu"
    for layer_id, layer in enumerate(parts.layers):
        device = model.placement.device_of(layer_id)
        if device != here:
            what = f"{name}, hidden states"
            after = (works.copy(device, what, rows * row_bytes, after, model.rank),)
        seconds = works.costs(device).layer_seconds(layer, rows, tokens)
        after = (works.compute(device, f"{name}, layer {layer_id}", seconds, after, model.rank),)
        here = device
    return add_head(works, model, rows=head_rows, here=here, after=after)


def add_head(
    works: WorkList, model: PlacedParts, *, rows: int, here: Device, after: tuple[int, ...]
) -> int:
    """Adds the head of `rows` rows whose hidden states are `here`; its last work."""
    parts, name = model.parts, model.name
    device: Device = "gpu" if model.placement.head_on_gpu else "cpu"
    if device != here:
        num_bytes = rows * parts.hidden_size * FLOAT_BYTES
        after = (works.copy(device, f"{name}, hidden states", num_bytes, after, model.rank),)
    seconds = works.costs(device).head_seconds(parts, rows)
    last = works.compute(device, f"{name}, head", seconds, after, model.rank)
    if device == "cpu":
        return last
    num_bytes = rows * parts.vocab_size * FLOAT_BYTES
    return works.copy("cpu", f"{name}, logits", num_bytes, (last,), model.rank)
