"""Each preset machine gets a plan, and the better machines the faster ones."""

from dataclasses import replace

import pytest

from slipstream.offload.errors import PlanOptionError
from slipstream.offload.machine_figures import FIGURES
from slipstream.offload.machine_presets import COMPUTE_SHARE, LINK_SHARE, PRESETS, machine_preset
from slipstream.offload.model_parts import LayerPart, Matrix, ModelParts
from slipstream.offload.placement.options import PlacementOptions
from slipstream.offload.placement.plan import PlacementPlan
from slipstream.offload.placement.planner import plan_placement

MB = 10**6
WITH_GPU = ("gtx-1650", "rtx-2060", "rtx-3050-pcie3-x8", "mx450-laptop")


def matrix(num_bytes: int, multiply_adds: int) -> Matrix:
    return Matrix(quant_type="Q4_K", num_bytes=num_bytes, multiply_adds=multiply_adds)


def equal_layers(
    num_layers: int, layer_bytes: int, *, head_bytes: int, hidden_size: int, multiply_adds: int
) -> ModelParts:
    layer = LayerPart(
        matrices=(matrix(layer_bytes, multiply_adds),),
        kv_bytes_per_token=1024,
        attention_multiply_adds=2 * hidden_size,
    )
    return ModelParts(
        layers=(layer,) * num_layers,
        head=matrix(head_bytes, hidden_size * 151_936),
        hidden_size=hidden_size,
        vocab_size=151_936,
        workspace_bytes=150 * MB,
        trained_context=32_768,
    )


# About Qwen2.5 with 1.5, 0.5 and 7 thousand million weights, quantised to Q4_K_M.
SMALL = equal_layers(28, 35 * MB, head_bytes=200 * MB, hidden_size=1536, multiply_adds=47 * MB)
DRAFT = equal_layers(24, 11 * MB, head_bytes=140 * MB, hidden_size=896, multiply_adds=15 * MB)
LARGE = equal_layers(28, 155 * MB, head_bytes=450 * MB, hidden_size=3584, multiply_adds=233 * MB)


def plan(name: str, parts: ModelParts = SMALL, draft: ModelParts | None = DRAFT) -> PlacementPlan:
    return plan_placement(parts, draft, machine_preset(name), PlacementOptions(context=4096))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("parts", [SMALL, LARGE])
def test_each_preset_gets_a_plan_within_its_memory(name: str, parts: ModelParts) -> None:
    made = plan(name, parts)
    costs = machine_preset(name)
    assert made.chosen.vram_bytes <= costs.vram_bytes
    assert made.chosen.ram_bytes <= costs.ram_bytes
    assert made.placement.uses_gpu == (costs.gpu is not None)
    assert "decode" in str(made)


@pytest.mark.parametrize("name", WITH_GPU)
def test_a_gpu_is_worth_having(name: str) -> None:
    without = replace(machine_preset(name), gpu=None, link=None, vram_bytes=0)
    on_cpu = plan_placement(SMALL, DRAFT, without, PlacementOptions(context=4096))
    assert plan(name).chosen.workload_s < on_cpu.chosen.workload_s
    assert plan(name).chosen.prefill_s <= on_cpu.chosen.prefill_s


def test_machines_in_the_order_of_their_speed() -> None:
    seconds = {name: plan(name).chosen.workload_s for name in PRESETS}
    assert min(seconds, key=seconds.__getitem__) == "rtx-2060"
    assert max(seconds[name] for name in WITH_GPU) < seconds["laptop-igpu"]
    assert seconds["cpu-only"] < seconds["laptop-igpu"]


def test_a_large_model_is_split_on_a_small_gpu() -> None:
    layers = {name: plan(name, LARGE, None).placement.num_gpu_layers for name in WITH_GPU}
    assert 0 < layers["mx450-laptop"] < layers["gtx-1650"] < 28
    assert layers["gtx-1650"] < layers["rtx-2060"]
    assert layers["rtx-3050-pcie3-x8"] == 28


@pytest.mark.parametrize("name", ["laptop-igpu", "cpu-only"])
def test_presets_without_a_gpu_stay_on_the_cpu(name: str) -> None:
    assert plan(name, draft=None).chosen.vram_bytes == 0


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PlanOptionError) as caught:
        machine_preset("gtx-1050")
    assert str(caught.value) == (
        "No machine is called 'gtx-1050'; known are gtx-1650, rtx-2060, rtx-3050-pcie3-x8, "
        "mx450-laptop, laptop-igpu, cpu-only."
    )


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_says_where_it_is_from(name: str) -> None:
    figures = dict(FIGURES[name].figures())
    assert len(figures) == (4 if FIGURES[name].gpu is None else 11)
    for figure in figures.values():
        assert figure.value > 0
        assert len(figure.source) > 10
    gpu = FIGURES[name].gpu
    if gpu is not None:
        assert gpu.float32_tflops.value < gpu.float16_tflops.value < gpu.int8_tops.value


def test_links_are_as_fast_as_their_lanes() -> None:
    rated = {name: machine_preset(name).link.gb_per_s / LINK_SHARE for name in WITH_GPU}
    assert rated == pytest.approx(
        {
            "gtx-1650": 15.75,
            "rtx-2060": 15.75,
            "rtx-3050-pcie3-x8": 7.88,
            "mx450-laptop": 7.88,
        },
        rel=1e-3,
    )


def test_products_take_matrix_units_only_where_triton_does() -> None:
    for name in WITH_GPU:
        gpu, costs = FIGURES[name].gpu, machine_preset(name).gpu
        peak = gpu.float16_tflops if gpu.compute_capability >= (8, 0) else gpu.float32_tflops
        assert costs.multiply_adds_per_s == pytest.approx(peak.value * 0.5e12 * COMPUTE_SHARE)
