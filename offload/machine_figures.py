"""Published figures of well-known weak machines, each with the page that it was checked against.

A figure that no page confirmed, or that only follows from others, is marked as assumed. Read in
November 2026; NVIDIA's own pages were not at hand, so its GPUs rest on reviews and databases.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

INTEL = "Intel product specifications (ARK), as exported in cpu-spec-dataset, 2023"
AMD = "AMD product specifications, as exported in cpu-spec-dataset, 2023"
VECTOR_UNITS = "follows from the width and number of vector units; not measured"
TOMS_1650 = "Tom's Hardware, GeForce GTX 1650 review, 2019, and HardwareDB, GeForce GTX 1650"
TOPCPU_2060 = "TopCPU, GeForce RTX 2060, and Fudzilla, launch of the RTX 2060, 2019"
CPUTRONIC_3050 = "CpuTronic, GeForce RTX 3050 8 GB, and Somagnews, RTX 3050 review, 2022"
DATACHECK_MX450 = "Data-Check, GeForce MX450, the 25 W version with GDDR6 (N18S-G5)"
HALF_RATE = "half the rate with float16 sums: comments on the Turing white paper, tensorflow #24531"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and where it is from."""

    value: float
    source: str
    assumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuFigures:
    """A CPU with the memory that it is sold for."""

    name: str
    cores: Figure
    base_ghz: Figure
    memory_gb_per_s: Figure  # of all channels together
    multiply_adds_a_cycle: Figure  # of int8, a core


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFigures:
    """A graphics card; each multiply-add is two operations."""

    name: str
    compute_capability: tuple[int, int]
    vram_gib: Figure
    memory_gb_per_s: Figure
    float32_tflops: Figure  # of the CUDA cores
    float16_tflops: Figure  # with sums in float32, of the tensor cores where there are any
    int8_tops: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFigures:
    """The slot that the graphics card is in, in the generation that card and CPU both have."""

    gt_per_s: Figure  # a lane
    lanes: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFigures:
    """A machine; without a GPU that kernels can use where there is none."""

    cpu: CpuFigures
    gpu: GpuFigures | None = None
    link: LinkFigures | None = None

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """All figures with their names."""
        for part in (self.cpu, self.gpu, self.link):
            if part is not None:
                for field in fields(part):
                    figure = getattr(part, field.name)
                    if isinstance(figure, Figure):
                        yield f"{type(part).__name__}.{field.name}", figure


# Two 256-bit instructions a cycle, of which one multiplies 32 bytes and one widens the sums.
AVX2 = Figure(32, VECTOR_UNITS, assumed=True)
# One 512-bit instruction a cycle does both for 64 bytes; Zen 4 does it in two halves.
VNNI = Figure(64, VECTOR_UNITS, assumed=True)

PCIE_3_GT_PER_S = Figure(8, "HPC notes, PCI Express bus: PCIe 3.0, 128b/130b")
PCIE_4_GT_PER_S = Figure(16, "HPC notes, PCI Express bus: PCIe 4.0, 128b/130b")

RYZEN_5_3600 = CpuFigures(
    name="AMD Ryzen 5 3600, two channels of DDR4-3200",
    cores=Figure(6, AMD),
    base_ghz=Figure(3.6, AMD),
    memory_gb_per_s=Figure(51.2, f"{AMD}: 2 channels, up to 3200 MHz; El Chapuzas: 51.2 GB/s"),
    multiply_adds_a_cycle=AVX2,
)
CORE_I7_8700 = CpuFigures(
    name="Intel Core i7-8700, two channels of DDR4-2666",
    cores=Figure(6, INTEL),
    base_ghz=Figure(3.2, INTEL),
    memory_gb_per_s=Figure(41.6, INTEL),
    multiply_adds_a_cycle=AVX2,
)
CORE_I5_10400F = CpuFigures(
    name="Intel Core i5-10400F, two channels of DDR4-2666",
    cores=Figure(6, INTEL),
    base_ghz=Figure(2.9, INTEL),
    memory_gb_per_s=Figure(41.6, INTEL),
    multiply_adds_a_cycle=AVX2,
)
CORE_I5_1135G7 = CpuFigures(
    name="Intel Core i5-1135G7, two channels of DDR4-3200",
    cores=Figure(4, INTEL),
    base_ghz=Figure(2.4, f"{INTEL}: configurable TDP-up, 28 W"),
    memory_gb_per_s=Figure(51.2, f"{INTEL}: 2 channels of DDR4-3200, 8 bytes each"),
    multiply_adds_a_cycle=VNNI,
)
RYZEN_7_7700 = CpuFigures(
    name="AMD Ryzen 7 7700, two channels of DDR5-5200",
    cores=Figure(8, AMD),
    base_ghz=Figure(3.8, AMD),
    memory_gb_per_s=Figure(83.2, f"{AMD}: 2 channels of DDR5; that it is 5200", assumed=True),
    multiply_adds_a_cycle=VNNI,
)

GTX_1650 = GpuFigures(
    name="GeForce GTX 1650 with GDDR5",
    compute_capability=(7, 5),
    vram_gib=Figure(4, TOMS_1650),
    memory_gb_per_s=Figure(128, "Tom's Hardware, quoted by Informatyk: 8 GT/s on 128 bits"),
    float32_tflops=Figure(2.98, "Tom's Hardware, quoted by Informatyk: 2,984 GFLOPS at 1,665 MHz"),
    float16_tflops=Figure(5.97, "Hugging Face, Hardware, GTX 1650; no tensor cores"),
    int8_tops=Figure(11.9, "four multiply-adds for each of float32 (DP4A)", assumed=True),
)
RTX_2060 = GpuFigures(
    name="GeForce RTX 2060",
    compute_capability=(7, 5),
    vram_gib=Figure(6, TOPCPU_2060),
    memory_gb_per_s=Figure(336, TOPCPU_2060),
    float32_tflops=Figure(6.45, TOPCPU_2060),
    float16_tflops=Figure(25.8, f"Galport, RTX 2060: 52 TFLOPS; {HALF_RATE}", assumed=True),
    int8_tops=Figure(103, "twice float16, as on Leadtek's Quadro RTX 6000", assumed=True),
)
RTX_3050 = GpuFigures(
    name="GeForce RTX 3050 with 8 GB",
    compute_capability=(8, 6),
    vram_gib=Figure(8, CPUTRONIC_3050),
    memory_gb_per_s=Figure(224, CPUTRONIC_3050),
    float32_tflops=Figure(9.1, CPUTRONIC_3050),
    # 80 tensor cores of 128 multiply-adds a cycle at 1.777 GHz are 36.4 TFLOPS with float16 sums.
    float16_tflops=Figure(
        18.2, f"from Hardware Times, Ampere deep dive; {HALF_RATE}", assumed=True
    ),
    int8_tops=Figure(72.8, "twice float16, as on NVIDIA's RTX A400 (21.7 and 43.3)", assumed=True),
)
# The GTX 1050 Mobile that such a laptop may also have is of capability 6.1: Triton and builds of
# torch for CUDA 12.8 and later need 7.5, and the int8 matrix units that kernels use came with it.
MX450 = GpuFigures(
    name="GeForce MX450 of 25 W with GDDR6",
    compute_capability=(7, 5),
    vram_gib=Figure(2, DATACHECK_MX450),
    memory_gb_per_s=Figure(80, DATACHECK_MX450),
    float32_tflops=Figure(
        2.82, f"{DATACHECK_MX450}: 896 cores, 1,575 MHz; sources differ", assumed=True
    ),
    float16_tflops=Figure(
        5.64, "twice float32, as on the GTX 1650, which has the same chip", assumed=True
    ),
    int8_tops=Figure(11.3, "four multiply-adds for each of float32 (DP4A)", assumed=True),
)

PCIE_3_X16 = LinkFigures(gt_per_s=PCIE_3_GT_PER_S, lanes=Figure(16, f"{INTEL}; CpuTronic"))

FIGURES: Mapping[str, MachineFigures] = MappingProxyType(
    {
        "gtx-1650": MachineFigures(cpu=RYZEN_5_3600, gpu=GTX_1650, link=PCIE_3_X16),
        "rtx-2060": MachineFigures(cpu=CORE_I7_8700, gpu=RTX_2060, link=PCIE_3_X16),
        "rtx-3050-pcie3-x8": MachineFigures(
            cpu=CORE_I5_10400F,  # has PCIe 3.0; the card has 8 lanes of PCIe 4.0
            gpu=RTX_3050,
            link=LinkFigures(gt_per_s=PCIE_3_GT_PER_S, lanes=Figure(8, CPUTRONIC_3050)),
        ),
        "mx450-laptop": MachineFigures(
            cpu=CORE_I5_1135G7,
            gpu=MX450,
            link=LinkFigures(gt_per_s=PCIE_4_GT_PER_S, lanes=Figure(4, DATACHECK_MX450)),
        ),
        "laptop-igpu": MachineFigures(cpu=CORE_I5_1135G7),  # graphics read the same memory: unused
        "cpu-only": MachineFigures(cpu=RYZEN_7_7700),
    }
)
