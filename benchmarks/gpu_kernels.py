"""What the GPU's products reach of its memory's bandwidth, at the sizes of a 7B model.

    python benchmarks/gpu_kernels.py --out benchmarks/results/gpu_kernels.json

Prints and writes the time of each product on the GPU, with what is done to its rows before; the
weight's bytes over that as a share of what plain kernels read or copy; and multiply-adds. Weights
take turns, together three times what the last cache holds, and a CUDA graph launches them.
`--every-shape` also measures each launch shape that `slipstream.gpu_kernels.tuning` chooses from.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
import triton

from slipstream import gpu_kernels
from slipstream.cpu_kernels import QuantType
from slipstream.gpu_kernels.graph_timing import seconds_a_call
from slipstream.gpu_kernels.launch_table import candidate_shapes, launch_shape
from slipstream.gpu_kernels.packed_rows import packed_rows
from slipstream.gpu_kernels.part_product import Target, multiply_part
from slipstream.gpu_kernels.sample_weights import sample_weights

MATRICES = {  # (columns, rows)
    "attention output": (4096, 4096),
    "gate or up": (4096, 11008),
    "down": (11008, 4096),
    "head": (4096, 32000),
}
QUANT_TYPES = (QuantType.Q4_K, QuantType.Q6_K, QuantType.Q8_0)
NUM_ROWS = (1, 4, 16, 512)
PLAIN_BYTES = 1 << 30  # that are copied or read


def plain_gb_per_s() -> dict[str, float]:
    """What the device's own kernels copy, reading and writing, and read."""
    source = torch.ones(PLAIN_BYTES // 4, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    copied = 2 * PLAIN_BYTES / seconds_a_call([lambda: target.copy_(source)])
    read = PLAIN_BYTES / seconds_a_call([lambda: torch.amax(source)])
    return {"copy": round(copied / 1e9, 1), "read": round(read / 1e9, 1)}


def figures(
    weight: gpu_kernels.Weight, num_rows: int, seconds: float, gb_per_s: float
) -> dict[str, float]:
    """What a product took, in the measures that matter for few rows and for many."""
    reached = weight.num_bytes / seconds / 1e9
    return {
        "microseconds": round(seconds * 1e6, 2),
        "gb_per_s": round(reached, 1),
        "share_of_bandwidth": round(reached / gb_per_s, 3),
        "tera_multiply_adds_per_s": round(
            num_rows * weight.rows * weight.columns / seconds / 1e12, 3
        ),
    }


def products(
    quant_type: QuantType, name: str, gb_per_s: float, every_shape: bool
) -> Iterator[dict[str, object]]:
    """Products of all numbers of rows with a matrix."""
    columns, rows = MATRICES[name]
    weights = sample_weights(quant_type, rows, columns)
    for num_rows in NUM_ROWS:
        x = torch.randn((num_rows, columns), device="cuda")
        out = torch.empty((num_rows, rows), device="cuda")
        calls = [
            lambda each=each, x=x, out=out: gpu_kernels.matmul(x, each, out=out) for each in weights
        ]
        measured: dict[str, object] = {
            "type": quant_type.name,
            "matrix": name,
            "columns": columns,
            "weight_rows": rows,
            "rows": num_rows,
            "launch_shape": asdict(launch_shape(quant_type, num_rows, rows, columns)),
        } | figures(weights[0], num_rows, seconds_a_call(calls), gb_per_s)
        print(json.dumps(measured), flush=True)
        if every_shape:
            measured["every_shape"] = of_every_shape(weights, x, out, gb_per_s)
        yield measured


def of_every_shape(
    weights: list[gpu_kernels.Weight], x: torch.Tensor, out: torch.Tensor, gb_per_s: float
) -> list[dict[str, object]]:
    """The product alone, without what is done to its rows before, fastest first."""
    packed, columns = packed_rows(x, weights[0], None, None), weights[0].columns
    found: list[dict[str, object]] = []
    for shape in candidate_shapes(weights[0].parts[0].quant_type, len(x)):
        seconds = seconds_a_call(
            [
                lambda part=each.parts[0], shape=shape: multiply_part(
                    packed, part, columns, Target(out=out), shape
                )
                for each in weights
            ]
        )
        found.append(asdict(shape) | figures(weights[0], len(x), seconds, gb_per_s))
    return sorted(found, key=lambda each: each["microseconds"])


def hardware() -> dict[str, object]:
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "gpu": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "processors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "cache_bytes": properties.L2_cache_size,
        "cpu": platform.processor() or platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--every-shape", action="store_true")
    arguments = parser.parse_args()
    if gpu_kernels.compute_device().type != "cuda":
        parser.error("times of the interpreter say nothing: unset TRITON_INTERPRET")
    plain = plain_gb_per_s()
    print(f"plain kernels: {plain} GB/s", flush=True)
    result = {
        "command": "python benchmarks/gpu_kernels.py"
        + (" --every-shape" if arguments.every_shape else ""),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "triton": triton.__version__,
        },
        "plain_gb_per_s": plain,
        "products": [
            each
            for quant_type in QUANT_TYPES
            for name in MATRICES
            for each in products(quant_type, name, max(plain.values()), arguments.every_shape)
        ],
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
