"""Costs of well-known weak machines, for planning without having them; nothing here was measured.

Published figures (`machine_figures.py`) times an assumed share of them that programs reach.

Products on the GPU are taken to run at the float16 rate of its tensor cores from compute capability
8.0 on, and at the float32 rate of its CUDA cores before: Triton uses no tensor cores there since
version 3.3 (triton pull request 5066). Its int8 products, which are what the kernels are made of,
don't even compile for 7.5 with Triton 3.9 (triton issue 9349), so plans for Turing suppose kernels
that are still to be written.
"""

from collections.abc import Mapping
from types import MappingProxyType

from slipstream.offload.device_costs import MachineCosts, NominalDeviceCosts, NominalLinkCosts
from slipstream.offload.errors import PlanOptionError
from slipstream.offload.machine_figures import (
    FIGURES,
    CpuFigures,
    GpuFigures,
    LinkFigures,
    MachineFigures,
)

GIB = 1024**3

# Assumptions, not published figures:
READ_SHARE = 0.8  # of the memory's rated bandwidth
COMPUTE_SHARE = 0.5  # of the peak of multiply-adds
LINK_SHARE = 0.8  # of the link's rated bandwidth, with page-locked memory
CPU_LAYER_OVERHEAD_S = 10e-6  # threads that wait for each other, some times a layer
GPU_LAYER_OVERHEAD_S = 50e-6  # ten launches of 5 microseconds
LINK_LATENCY_S = 20e-6  # a copy and the wait for it
FREE_RAM_BYTES = 12 * GIB  # of 16 GiB

CODED_SHARE = 128 / 130  # of what PCIe 3.0 and 4.0 transfer is data
MATRIX_UNITS_CAPABILITY = (8, 0)  # the first whose matrix units Triton uses


def machine_preset(name: str) -> MachineCosts:
    """Costs of the machine called `name`. Raises PlanOptionError for a name that is not known."""
    if name not in PRESETS:
        raise PlanOptionError(f"No machine is called {name!r}; known are {', '.join(PRESETS)}.")
    return PRESETS[name]


def _costs(machine: MachineFigures) -> MachineCosts:
    if machine.gpu is None or machine.link is None:
        return MachineCosts(cpu=_cpu(machine.cpu), ram_bytes=FREE_RAM_BYTES)
    return MachineCosts(
        cpu=_cpu(machine.cpu),
        gpu=_gpu(machine.gpu),
        link=_link(machine.link),
        ram_bytes=FREE_RAM_BYTES,
        vram_bytes=int(machine.gpu.vram_gib.value * GIB),
    )


def _cpu(cpu: CpuFigures) -> NominalDeviceCosts:
    cycles_per_s = cpu.cores.value * cpu.base_ghz.value * 1e9
    return NominalDeviceCosts(
        read_gb_per_s=cpu.memory_gb_per_s.value * READ_SHARE,
        multiply_adds_per_s=cycles_per_s * cpu.multiply_adds_a_cycle.value * COMPUTE_SHARE,
        layer_overhead_s=CPU_LAYER_OVERHEAD_S,
    )


def _gpu(gpu: GpuFigures) -> NominalDeviceCosts:
    has_matrix_units = gpu.compute_capability >= MATRIX_UNITS_CAPABILITY
    peak_tflops = (gpu.float16_tflops if has_matrix_units else gpu.float32_tflops).value
    return NominalDeviceCosts(
        read_gb_per_s=gpu.memory_gb_per_s.value * READ_SHARE,
        multiply_adds_per_s=peak_tflops * 1e12 / 2 * COMPUTE_SHARE,
        layer_overhead_s=GPU_LAYER_OVERHEAD_S,
    )


def _link(link: LinkFigures) -> NominalLinkCosts:
    rated_gb_per_s = link.lanes.value * link.gt_per_s.value * CODED_SHARE / 8
    return NominalLinkCosts(gb_per_s=rated_gb_per_s * LINK_SHARE, latency_s=LINK_LATENCY_S)


PRESETS: Mapping[str, MachineCosts] = MappingProxyType(
    {name: _costs(machine) for name, machine in FIGURES.items()}
)
