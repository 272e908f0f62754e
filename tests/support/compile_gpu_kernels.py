"""Compiles every GPU kernel, as the ops launch it, for a GPU that need not be here.

    python -m support.compile_gpu_kernels 75 [attention] [matmul] [others]

The ops that are named, or all, run on tensors in host memory; what they launch is compiled for the
target and not run. Prints a JSON list of {kernel, constants, registers, stack_bytes, shared_bytes,
uses_int8_matrix_units, uses_float16_matrix_units}.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from slipstream.cpu_kernels import QuantType, RmsNorm
from slipstream.cpu_kernels.kv_pages import KV_BITS
from slipstream.cpu_kernels.panel_format import PANEL_FORMATS
from support.random_blocks import random_rows

TOOL = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
FEW, MANY = 3, 70  # rows of a step
DTYPES = tuple(KV_BITS)  # of keys and values
HEAD_SIZES = (64, 128, 256)
GROUPS = (1, 3, 4, 6)  # query heads that share one of keys and values


def import_gpu_kernels(capability: int) -> ModuleType:
    """The package, as if such a GPU were here; its tensors in host memory, its kernels compiled."""
    with (
        mock.patch.object(torch.version, "cuda", "0"),
        mock.patch.multiple(
            torch.cuda,
            is_available=lambda: True,
            get_device_capability=lambda device=None: divmod(capability, 10),
            current_device=lambda: 0,
        ),
    ):
        from slipstream import gpu_kernels
        from slipstream.gpu_kernels.device import multiplies_int8

        multiplies_int8()  # is remembered
    gpu_kernels.compute_device.cache_clear()
    triton.knobs.runtime.interpret = True  # for the device alone: kernels are decorated already
    assert gpu_kernels.compute_device().type == "cpu"
    return gpu_kernels


def matmul(ops: ModuleType) -> None:
    for quant_type in QuantType:
        multiply(ops, quant_type)
    for quant_type in (QuantType.Q4_K, QuantType.Q6_K, QuantType.F16):
        multiply_in_every_shape(ops, quant_type)


def others(ops: ModuleType) -> None:
    x, norm = torch.zeros(FEW, 512), RmsNorm(weight=torch.zeros(512), eps=1e-6)
    for accumulate in (False, True):
        ops.rms_norm(x, norm, accumulate=accumulate, out=torch.zeros_like(x))
    for b in (None, x):
        ops.blend_gated(x, x, b, out=torch.zeros_like(x))
    ids, out = torch.zeros((FEW, 8), dtype=torch.int32), torch.zeros(FEW, 8)
    ops.top_k(torch.zeros(FEW, 50_000), 8, ids=ids, out=out)
    for quant_type in PANEL_FORMATS:
        unpack(quant_type)
    for dtype in DTYPES:
        for head_size in HEAD_SIZES:
            rotate(ops, dtype, head_size)


def attention(ops: ModuleType) -> None:
    for dtype in DTYPES:
        for head_size in HEAD_SIZES:
            for group in GROUPS:
                attend(ops, dtype, head_size, group)


OPS = {"matmul": matmul, "attention": attention, "others": others}  # in the variants they compile


def unpack(quant_type: QuantType) -> None:
    from slipstream.gpu_kernels.panels import part_of_panels

    form = PANEL_FORMATS[quant_type]
    panels = torch.zeros((3, 512 // form.unit_columns * form.unit_bytes), dtype=torch.uint8)
    part_of_panels(panels, quant_type, 33, 512)


def multiply(ops: ModuleType, quant_type: QuantType) -> None:
    rng = np.random.default_rng(0)
    weight = ops.pack_weight(random_rows(quant_type, 33, 512, rng), quant_type, 512)
    norm, bias = RmsNorm(weight=torch.zeros(512), eps=1e-6), torch.zeros(33)
    for rows in (FEW, MANY):
        x, gated, out = torch.zeros(rows, 512), torch.zeros(rows, 1024), torch.zeros(rows, 33)
        ops.matmul(x, weight, out=out)
        ops.matmul(x, weight, norm=norm, bias=bias, out=out)
        ops.matmul(gated, weight, activation="silu", accumulate=True, out=out)
        ops.matmul(gated, weight, activation="gelu", out=out)


def multiply_in_every_shape(ops: ModuleType, quant_type: QuantType) -> None:
    """Products as they are launched where another shape than the default was measured fastest."""
    from slipstream.gpu_kernels.launch_table import candidate_shapes
    from slipstream.gpu_kernels.packed_rows import packed_rows
    from slipstream.gpu_kernels.part_product import Target, multiply_part

    raw = random_rows(quant_type, 33, 512, np.random.default_rng(0))
    weight = ops.pack_weight(raw, quant_type, 512)
    for rows in (FEW, MANY):
        packed = packed_rows(torch.zeros(rows, 512), weight, None, None)
        for shape in candidate_shapes(quant_type, rows):
            target = Target(out=torch.zeros(rows, 33))
            multiply_part(packed, weight.parts[0], 512, target, shape)


def empty_pages(ops: ModuleType, dtype: str, head_size: int) -> Any:
    return ops.KVPages.empty(
        num_pages=32, num_heads=2, head_size=head_size, page_size=64, dtype=dtype
    )


def rotate(ops: ModuleType, dtype: str, head_size: int) -> None:
    pages, places = empty_pages(ops, dtype, head_size), torch.zeros(FEW, dtype=torch.int32)
    norm = RmsNorm(weight=torch.zeros(head_size), eps=1e-6)
    qkv, angles = torch.zeros(FEW, 16 * head_size), torch.zeros(FEW, head_size // 2)
    for interleaved, each in ((False, None), (True, None), (False, norm)):
        ops.rotate_and_store(
            qkv, angles, angles, places, places, interleaved=interleaved, query_norm=each,
            key_norm=each, pages=pages, out=torch.zeros(FEW, 12, head_size)
        )  # fmt: skip


def attend(ops: ModuleType, dtype: str, head_size: int, group: int) -> None:
    pages = empty_pages(ops, dtype, head_size)
    for rows in (FEW, MANY):
        heads, places = torch.zeros(rows, 2 * group, head_size), torch.zeros(rows).int()
        visibility = SimpleNamespace(
            sequences=places,
            page_tables=torch.zeros((1, 32), dtype=torch.int32),
            past=torch.zeros(1, dtype=torch.int32),
            first_key=places,
            mask=torch.zeros((rows, rows), dtype=torch.bool),
            num_new=torch.full((1,), rows, dtype=torch.int32),
        )
        ops.attention(heads, pages, visibility, scale=1.0, out=torch.empty_like(heads))


def compiled_for(capability: int, names: list[str]) -> list[dict[str, Any]]:
    """Figures of all kernels that these ops launch, for this compute capability, times ten."""
    target = GPUTarget("cuda", capability, 32)
    driver.set_active(
        SimpleNamespace(
            get_current_device=lambda: capability,
            get_current_stream=lambda device: 0,
            get_current_target=lambda: target,
        )
    )
    kernels = {}
    run = JITFunction.run

    def compile_only(self: JITFunction, *given: Any, grid: Any, warmup: bool, **named: Any) -> None:
        kernel = run(self, *given, grid=grid, warmup=True, **named)
        if kernel.hash not in kernels:
            kernels[kernel.hash] = figures(kernel, named)

    ops = import_gpu_kernels(capability)
    with mock.patch.object(JITFunction, "run", compile_only):
        for name in names:
            OPS[name](ops)
    return list(kernels.values())


def figures(kernel: Any, named: dict[str, Any]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        told = subprocess.run(
            [TOOL, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    usage = {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED):(\d+)", told)}
    return {
        "kernel": kernel.metadata.name,
        "constants": {name: value for name, value in named.items() if isinstance(value, int)},
        "registers": usage["REG"],
        "stack_bytes": usage["STACK"],
        "shared_bytes": kernel.metadata.shared,
        "uses_int8_matrix_units": bool(re.search(r"mma\S*\.s8", kernel.asm["ptx"])),
        "uses_float16_matrix_units": bool(re.search(r"mma\S*\.f16", kernel.asm["ptx"])),
    }


if __name__ == "__main__":
    print(json.dumps(compiled_for(int(sys.argv[1]), sys.argv[2:] or list(OPS))))
