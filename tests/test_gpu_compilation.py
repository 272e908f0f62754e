"""GPU kernels compile for the GPUs that they are for, and fit in their registers."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slipstream.cpu_kernels.kv_pages import KV_BITS

TESTS = Path(__file__).parent
FEW_BYTES = 8  # two registers, which ptxas may give up to fit one more program on a processor


# Turing, Ampere and Hopper.
TURING, CAPABILITIES = 75, (75, 86, 90)
ROOM = {75: 65_536, 86: 101_376, 90: 232_448}  # shared memory that a program may have, bytes


def compiled(capability: int, *ops: str) -> list[dict[str, Any]]:
    """Figures of what these ops launch, or of all; skips the test where Triton is absent."""
    for package in ("torch", "triton"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "support.compile_gpu_kernels", str(capability), *ops],
        cwd=TESTS,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    kernels: list[dict[str, Any]] = json.loads(done.stdout)
    return kernels


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_attention_fits_in_registers_and_uses_matrix_units(capability: int) -> None:
    """Triton uses no matrix units on Turing, which has the least shared memory too."""
    kernels = compiled(capability, "attention")
    assert {each["kernel"] for each in kernels} == {"attend", "join_parts", "pack_queries"}
    assert [each for each in kernels if each["stack_bytes"]] == []
    room = 49_152 if capability == TURING else ROOM[capability]
    assert [each for each in kernels if each["shared_bytes"] > room] == []
    attending = [each for each in kernels if each["kernel"] == "attend"]
    has_units = capability != TURING
    assert all(each["uses_float16_matrix_units"] == has_units for each in attending)
    for each in attending:
        wanted = has_units and each["constants"]["BITS"] < 16
        assert each["uses_int8_matrix_units"] == wanted
    assert {each["constants"]["BITS"] for each in attending} == set(KV_BITS.values())


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_other_kernels_compile(capability: int) -> None:
    kernels = compiled(capability, "matmul", "others")
    assert {each["kernel"] for each in kernels} >= {
        "blend_gated", "join_segments", "multiply_floats", "multiply_planes", "pack_rows",
        "rms_norm", "rotate_and_store", "top_of_candidates", "top_of_stretches", "unpack_plane"
    }  # fmt: skip
    assert [each for each in kernels if each["stack_bytes"] > FEW_BYTES] == []
    assert [each for each in kernels if each["shared_bytes"] > ROOM[capability]] == []
    products = [each for each in kernels if each["kernel"] == "multiply_planes"]
    assert all(each["uses_int8_matrix_units"] == (capability != TURING) for each in products)
