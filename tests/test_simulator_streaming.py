"""Prefill with streamed weights: two buffers, each weight once, and when it pays."""

from dataclasses import replace

import pytest

from slipstream.offload.device_costs import MachineCosts, NominalDeviceCosts, NominalLinkCosts
from slipstream.offload.model_parts import LayerPart, ModelParts
from slipstream.offload.placement.placement import Placement
from slipstream.offload.simulator import (
    Request,
    SimulatedRequest,
    simulate_request,
    staged_layers_bytes,
    streaming_crossover_rows,
)
from support.placement_search import matrix

MB = 10**6
GB = 10**9
MACHINE = MachineCosts(
    cpu=NominalDeviceCosts(read_gb_per_s=40, multiply_adds_per_s=3e11, layer_overhead_s=0),
    gpu=NominalDeviceCosts(read_gb_per_s=200, multiply_adds_per_s=3e12, layer_overhead_s=0),
    link=NominalLinkCosts(gb_per_s=6, latency_s=2e-5),
    ram_bytes=12 * GB,
    vram_bytes=4 * GB,
)
LAYER = LayerPart(
    matrices=(matrix(155 * MB, 233 * MB),), kv_bytes_per_token=0, attention_multiply_adds=0
)


def model(num_layers: int, layer: LayerPart = LAYER) -> ModelParts:
    return ModelParts(
        layers=(layer,) * num_layers,
        head=matrix(MB, 3584 * 151_936),
        hidden_size=3584,
        vocab_size=151_936,
        workspace_bytes=0,
        trained_context=32_768,
    )


def machine_with_link(gb_per_s: float) -> MachineCosts:
    return replace(MACHINE, link=NominalLinkCosts(gb_per_s=gb_per_s, latency_s=2e-5))


def simulated(parts: ModelParts, placement: Placement, tokens: int) -> SimulatedRequest:
    request = Request(prompt_tokens=tokens, answer_tokens=1, streams_weights=True)
    return simulate_request(parts, None, MACHINE, placement, request)


def analytic_rows(machine: MachineCosts, *, hidden: bool) -> float:
    """Rows for which the CPU takes as long as copying a layer and computing it on the GPU.

    With `hidden` the GPU computes while the next layer is copied. The CPU is limited by computing.
    """
    copy_s = machine.link.seconds(LAYER.weight_bytes)
    unpack_s = 2 * LAYER.weight_bytes / 200e9
    cpu_s = LAYER.multiply_adds / machine.cpu.multiply_adds_per_s
    gpu_s = LAYER.multiply_adds / machine.gpu.multiply_adds_per_s
    return copy_s / cpu_s if hidden else (copy_s + unpack_s) / (cpu_s - gpu_s)


def test_layers_in_ram_cross_once_a_step_and_their_keys_and_values_both_ways() -> None:
    parts = model(6, replace(LAYER, kv_bytes_per_token=1000))
    placement = Placement.window(6, first=2, end=4)
    made = simulated(parts, placement, 1200)
    weights = [event for event in made.timeline.events if event.what.endswith("weights")]
    assert [event.what for event in weights] == [
        f"target, layer {layer_id}, weights" for _ in range(3) for layer_id in (0, 1, 4, 5)
    ]
    hidden_bytes = 4 * 3584 * (1200 + 3)
    held_tokens = 0 + 512 + 1024
    assert made.prefill_link_bytes == (
        4 * (3 * 155 * MB + (held_tokens + 1200) * 1000) + hidden_bytes
    )
    assert made.busy_shares["cpu"] < 0.1


def test_two_buffers_are_filled_while_the_gpu_computes() -> None:
    made = simulated(model(8), Placement.window(8), 512)
    events = [event for event in made.timeline.events if event.end_s <= made.prefill_s]
    copies = [event for event in events if event.what.endswith("weights")]
    ends = [
        max(event.end_s for event in events if event.what == f"target, layer {layer_id}")
        for layer_id in range(8)
    ]
    for layer_id in range(2, 8):
        assert copies[layer_id].start_s >= ends[layer_id - 2]
        assert copies[layer_id].start_s < ends[layer_id - 1]
    assert copies[1].start_s == copies[0].end_s


def test_the_longer_of_copying_and_computing_counts() -> None:
    few = simulated(model(20), Placement.window(20), 32)
    many = simulated(model(20), Placement.window(20), 512)
    assert few.busy_shares["to gpu"] > 0.7 > few.busy_shares["gpu"]
    assert many.busy_shares["gpu"] > 0.8 > many.busy_shares["to gpu"]


@pytest.mark.parametrize("gb_per_s", [1.0, 3.0, 6.0, 12.0, 24.0])
def test_the_crossover_is_that_of_the_formula(gb_per_s: float) -> None:
    """rows * (CPU's seconds a row) > layer's bytes / link + GPU's seconds.

    With one layer nothing is hidden; of many layers the GPU's seconds or the copies are.
    """
    machine = machine_with_link(gb_per_s)
    one = streaming_crossover_rows(model(1), machine, Placement.window(1))
    assert one == pytest.approx(analytic_rows(machine, hidden=False), rel=0.03, abs=2)
    many = streaming_crossover_rows(model(28), machine, Placement.window(28))
    assert many is not None
    assert analytic_rows(machine, hidden=True) <= many
    assert many <= 1 + analytic_rows(machine, hidden=False)


def test_a_faster_link_never_makes_the_crossover_later() -> None:
    placement = Placement.window(12, end=4)
    rows = [
        streaming_crossover_rows(model(12), machine_with_link(gb_per_s), placement) or 10**9
        for gb_per_s in (0.001, 0.5, 1, 2, 4, 8, 16, 32)
    ]
    assert rows == sorted(rows, reverse=True)
    assert rows[0] == 10**9
    assert 1 < rows[-1] < rows[1] <= 512


def test_it_pays_from_the_crossover_on() -> None:
    parts, placement = model(12), Placement.window(12, end=4)
    crossover = streaming_crossover_rows(parts, MACHINE, placement)
    assert crossover is not None
    for tokens in (crossover - 1, crossover, crossover + 1, 4 * crossover):
        request = Request(prompt_tokens=tokens, answer_tokens=1)
        in_place = simulate_request(parts, None, MACHINE, placement, request)
        assert (simulated(parts, placement, tokens).prefill_s < in_place.prefill_s) == (
            tokens >= crossover
        )


def test_it_never_pays_where_the_gpu_is_slower() -> None:
    slow = replace(MACHINE.gpu, multiply_adds_per_s=1e11)
    machine = replace(MACHINE, gpu=slow)
    assert streaming_crossover_rows(model(4), machine, Placement.window(4)) is None


def test_it_never_pays_where_no_layer_is_in_ram() -> None:
    assert streaming_crossover_rows(model(4), MACHINE, Placement.window(4, end=4)) is None


def test_the_staging_area() -> None:
    """Two buffers of the largest layer in RAM, and its two largest matrices once more."""
    matrices = tuple(matrix(num_bytes * MB, MB) for num_bytes in (5, 1, 9, 3))
    small = replace(LAYER, matrices=matrices, kv_bytes_per_token=1000)
    parts = replace(model(4), layers=(LAYER, LAYER, replace(LAYER, kv_bytes_per_token=10), small))

    def staged(*, end: int) -> int:
        return staged_layers_bytes(parts, Placement.window(4, end=end), 1000)

    assert staged(end=2) == 2 * (155 * MB + 1000 * 10) + 155 * MB
    assert staged(end=3) == 1 * (18 * MB + 1000 * 1000) + 14 * MB
    assert staged(end=4) == 0


def test_a_machine_without_a_gpu_is_refused() -> None:
    machine = replace(MACHINE, gpu=None, link=None, vram_bytes=0)
    with pytest.raises(ValueError, match="without one"):
        streaming_crossover_rows(model(1), machine, Placement.window(1))
