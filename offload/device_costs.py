"""What work costs on the devices of a machine, in seconds: reading, computing, copying.

Each kind of costs is an interface with two implementations: nominal figures, for a machine that is
only imagined (`machine_presets`), and tables that were measured (`offload.profile`).
"""

from dataclasses import dataclass
from typing import Protocol

from slipstream.offload.model_parts import LayerPart, ModelParts


class DeviceCosts(Protocol):
    """How long a CPU or a GPU takes for the parts of a model that lie in its memory."""

    def layer_seconds(self, layer: LayerPart, rows: int, held_tokens: int) -> float:
        """Seconds of one layer for a step of `rows` rows, its attention included.

        held_tokens : tokens whose keys and values the cache holds before the step
        """
        ...

    def head_seconds(self, parts: ModelParts, rows: int) -> float:
        """Seconds of the head for `rows` rows whose logits are wanted."""
        ...


class LinkCosts(Protocol):
    """The way between CPU and GPU."""

    def seconds(self, num_bytes: int) -> float:
        """Seconds of one copy of `num_bytes` in either direction, and of waiting for it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NominalDeviceCosts:
    """A device of which two figures are known: how fast it reads and how fast it computes."""

    read_gb_per_s: float  # of its own memory; the limit of steps of few rows
    multiply_adds_per_s: float  # the limit of steps of many rows
    layer_overhead_s: float  # for each layer, whatever its size: launches, threads that wait

    def layer_seconds(self, layer: LayerPart, rows: int, held_tokens: int) -> float:
        """As `DeviceCosts`: `matrix_seconds` of weights, keys and values together."""
        keys = layer.keys_seen(held_tokens)
        multiply_adds = layer.multiply_adds + keys * layer.attention_multiply_adds
        return self.matrix_seconds(layer.bytes_with_kv(keys), multiply_adds, rows)

    def head_seconds(self, parts: ModelParts, rows: int) -> float:
        """As `DeviceCosts`."""
        return self.matrix_seconds(parts.head_bytes, parts.head_multiply_adds, rows)

    def matrix_seconds(self, num_bytes: int, multiply_adds_a_row: int, rows: int) -> float:
        """Seconds in which bytes are read once and used for `rows` rows.

        max(bytes / bandwidth, rows * multiply-adds a row / rate) + overhead
        """
        read_s = num_bytes / (self.read_gb_per_s * 1e9)
        compute_s = rows * multiply_adds_a_row / self.multiply_adds_per_s
        return max(read_s, compute_s) + self.layer_overhead_s


@dataclass(frozen=True, slots=True, kw_only=True)
class NominalLinkCosts:
    """A link that is as fast in both directions."""

    gb_per_s: float
    latency_s: float  # of one copy, and of waiting for what is copied

    def seconds(self, num_bytes: int) -> float:
        """As `LinkCosts`: latency + bytes / bandwidth."""
        return self.latency_s + num_bytes / (self.gb_per_s * 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCosts:
    """A CPU, and a GPU behind a link where there is one.

    Raises ValueError when some of GPU, link and VRAM are given and others are not.
    """

    cpu: DeviceCosts
    gpu: DeviceCosts | None = None
    link: LinkCosts | None = None
    ram_bytes: int  # that a plan may fill: available, and not left to other programs
    vram_bytes: int = 0  # that the GPU has; plans leave a margin of it free

    def __post_init__(self) -> None:
        if len({self.gpu is None, self.link is None, self.vram_bytes == 0}) > 1:
            raise ValueError(
                f"a GPU needs a link and VRAM, and these need a GPU; got gpu={self.gpu}, "
                f"link={self.link}, vram_bytes={self.vram_bytes}"
            )
