"""What the GPU's kernels reach of its memory's bandwidth, at the sizes of a 7B model's layer.

    python benchmarks/gpu_kernels.py --out benchmarks/results/gpu_kernels.json

Prints and writes medians: seconds of each product with random weights, and the weight's bytes over
them as a share of what a copy of a large array reads and writes.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import triton

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from slipstream import gpu_kernels
from slipstream.cpu_kernels import QuantType
from support.random_blocks import random_rows

SHAPES = {
    "qkv": (12288, 4096),
    "output": (4096, 4096),
    "gate_up": (22016, 4096),
    "down": (4096, 11008),
}
QUANT_TYPES = (QuantType.Q4_K, QuantType.Q6_K, QuantType.Q8_0, QuantType.F16)
ROWS = (1, 4, 8, 16, 64, 512)
RUNS = 20
COPY_BYTES = 1 << 30


def seconds_of(run: Callable[[], object]) -> float:
    """Median of several runs, after two that warm up, between events on the device."""
    for _ in range(2):
        run()
    times = []
    for _ in range(RUNS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def copy_gb_per_s() -> float:
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / seconds_of(lambda: target.copy_(source)) / 1e9


def products(quant_type: QuantType, name: str, ceiling: float) -> list[dict[str, object]]:
    rows, columns = SHAPES[name]
    weight = random_weight(quant_type, rows, columns)
    measured = []
    for num_rows in ROWS:
        x = torch.randn((num_rows, columns), device="cuda")
        out = torch.empty((num_rows, rows), device="cuda")
        seconds = seconds_of(lambda x=x, out=out: gpu_kernels.matmul(x, weight, out=out))
        gb_per_s = weight.num_bytes / seconds / 1e9
        measured.append(
            {
                "type": quant_type.name,
                "matrix": name,
                "rows": num_rows,
                "microseconds": round(seconds * 1e6, 1),
                "gb_per_s": round(gb_per_s, 1),
                "share_of_bandwidth": round(gb_per_s / ceiling, 3),
                "tera_multiply_adds_per_s": round(num_rows * rows * columns / seconds / 1e12, 2),
            }
        )
        print(measured[-1], flush=True)
    return measured


def random_weight(quant_type: QuantType, rows: int, columns: int) -> gpu_kernels.Weight:
    """Some random rows again and again: what they hold does not change what they take."""
    few = random_rows(quant_type, 64, columns, np.random.default_rng(0), std=columns**-0.5)
    return gpu_kernels.pack_weight(np.tile(few, (rows // 64, 1)), quant_type, columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    ceiling = copy_gb_per_s()
    print(f"a copy reads and writes {ceiling:.0f} GB/s", flush=True)
    result = {
        "command": "python benchmarks/gpu_kernels.py",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "gpu": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "triton": triton.__version__},
        "copy_gb_per_s": round(ceiling, 1),
        "products": [
            each
            for quant_type in QUANT_TYPES
            for name in SHAPES
            for each in products(quant_type, name, ceiling)
        ],
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
