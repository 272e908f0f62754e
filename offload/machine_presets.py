"""Costs of well-known weak machines, for planning without having them; nothing here was measured.

Each figure is one that a vendor publishes, times an assumed share of it that programs reach:

- GPUs: NVIDIA's specification pages (memory, CUDA cores, boost clock), and its white papers on the
  Turing and GA102 architectures for the tensor cores, at half rate because GeForce cards halve it
  when float16 products are added up in float32;
- CPUs: Intel's ARK and AMD's product pages (cores, base clock, memory). Peak int8 multiply-adds
  follow from the vector units: 32 a cycle and core with AVX2 (two 256-bit instructions, one that
  multiplies and one that widens the sums), 64 with AVX-512 VNNI (one of 512 bits does both);
- links: PCI-SIG, 8 GT/s a lane for PCIe 3.0, of which 128/130 are data: 0.985 GB/s.
"""

from collections.abc import Mapping
from types import MappingProxyType

from slipstream.offload.device_costs import MachineCosts, NominalDeviceCosts, NominalLinkCosts
from slipstream.offload.errors import PlanOptionError

GIB = 1024**3

# Assumptions, not published figures:
READ_SHARE = 0.8  # of the memory's rated bandwidth
COMPUTE_SHARE = 0.5  # of the peak of multiply-adds
LINK_SHARE = 0.8  # of the link's rated bandwidth, with page-locked memory
CPU_LAYER_OVERHEAD_S = 10e-6  # threads that wait for each other, some times a layer
GPU_LAYER_OVERHEAD_S = 50e-6  # ten launches of 5 microseconds
LINK_LATENCY_S = 20e-6  # a copy and the wait for it
FREE_RAM_BYTES = 12 * GIB  # of 16 GiB

AVX2_MULTIPLY_ADDS = 32  # int8, a cycle and core
VNNI_MULTIPLY_ADDS = 64
PCIE_3_LANE_GB_PER_S = 0.985


def machine_preset(name: str) -> MachineCosts:
    """Costs of the machine called `name`. Raises PlanOptionError for a name that is not known."""
    if name not in PRESETS:
        raise PlanOptionError(f"No machine is called {name!r}; known are {', '.join(PRESETS)}.")
    return PRESETS[name]


def _cpu(
    *, memory_gb_per_s: float, cores: int, base_ghz: float, multiply_adds: int
) -> NominalDeviceCosts:
    """A CPU; `multiply_adds` is the peak of int8 ones, a cycle and core."""
    return NominalDeviceCosts(
        read_gb_per_s=memory_gb_per_s * READ_SHARE,
        multiply_adds_per_s=cores * base_ghz * 1e9 * multiply_adds * COMPUTE_SHARE,
        layer_overhead_s=CPU_LAYER_OVERHEAD_S,
    )


def _gpu(*, memory_gb_per_s: float, peak_tflops: float) -> NominalDeviceCosts:
    """A GPU; of `peak_tflops`, in float16, each multiply-add is two operations."""
    return NominalDeviceCosts(
        read_gb_per_s=memory_gb_per_s * READ_SHARE,
        multiply_adds_per_s=peak_tflops * 1e12 / 2 * COMPUTE_SHARE,
        layer_overhead_s=GPU_LAYER_OVERHEAD_S,
    )


def _pcie_3(lanes: int) -> NominalLinkCosts:
    return NominalLinkCosts(
        gb_per_s=lanes * PCIE_3_LANE_GB_PER_S * LINK_SHARE, latency_s=LINK_LATENCY_S
    )


PRESETS: Mapping[str, MachineCosts] = MappingProxyType(
    {
        "gtx-1650": MachineCosts(
            # AMD Ryzen 5 3600: 6 cores, 3.6 GHz, AVX2, two channels of DDR4-3200 (51.2 GB/s).
            cpu=_cpu(memory_gb_per_s=51.2, cores=6, base_ghz=3.6, multiply_adds=AVX2_MULTIPLY_ADDS),
            # 4 GB of GDDR5 at 8 Gb/s on 128 bits; 896 cores at 1.665 GHz are 2.98 TFLOPS in
            # float32, twice that in float16; no tensor cores. PCIe 3.0 x16.
            gpu=_gpu(memory_gb_per_s=128, peak_tflops=5.97),
            link=_pcie_3(16),
            ram_bytes=FREE_RAM_BYTES,
            vram_bytes=4 * GIB,
        ),
        "rtx-2060": MachineCosts(
            # Intel Core i7-8700: 6 cores, 3.2 GHz, AVX2, two channels of DDR4-2666 (41.6 GB/s).
            cpu=_cpu(memory_gb_per_s=41.6, cores=6, base_ghz=3.2, multiply_adds=AVX2_MULTIPLY_ADDS),
            # 6 GB of GDDR6 at 14 Gb/s on 192 bits; 240 tensor cores of 64 multiply-adds a cycle at
            # 1.68 GHz are 51.6 TFLOPS, half of it with float32 sums. PCIe 3.0 x16.
            gpu=_gpu(memory_gb_per_s=336, peak_tflops=25.8),
            link=_pcie_3(16),
            ram_bytes=FREE_RAM_BYTES,
            vram_bytes=6 * GIB,
        ),
        "rtx-3050-pcie3-x8": MachineCosts(
            # Intel Core i5-10400F: 6 cores, 2.9 GHz, AVX2, two channels of DDR4-2666 (41.6 GB/s).
            cpu=_cpu(memory_gb_per_s=41.6, cores=6, base_ghz=2.9, multiply_adds=AVX2_MULTIPLY_ADDS),
            # 8 GB of GDDR6 at 14 Gb/s on 128 bits; 80 tensor cores of 128 multiply-adds a cycle at
            # 1.777 GHz are 36.4 TFLOPS, half of it with float32 sums. The card has 8 lanes of PCIe
            # 4.0, which this CPU drives as 3.0.
            gpu=_gpu(memory_gb_per_s=224, peak_tflops=18.2),
            link=_pcie_3(8),
            ram_bytes=FREE_RAM_BYTES,
            vram_bytes=8 * GIB,
        ),
        "laptop-igpu": MachineCosts(
            # Intel Core i5-1135G7: 4 cores, 2.4 GHz, AVX-512 VNNI, two channels of DDR4-3200
            # (51.2 GB/s). Its graphics reads the same memory and is not used.
            cpu=_cpu(memory_gb_per_s=51.2, cores=4, base_ghz=2.4, multiply_adds=VNNI_MULTIPLY_ADDS),
            ram_bytes=FREE_RAM_BYTES,
        ),
        "cpu-only": MachineCosts(
            # AMD Ryzen 7 7700: 8 cores, 3.8 GHz, AVX-512 VNNI, two channels of DDR5-5200
            # (83.2 GB/s), without a graphics card.
            cpu=_cpu(memory_gb_per_s=83.2, cores=8, base_ghz=3.8, multiply_adds=VNNI_MULTIPLY_ADDS),
            ram_bytes=FREE_RAM_BYTES,
        ),
    }
)
