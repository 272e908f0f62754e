"""GPU kernels compile for the GPUs that they are for, and fit in their registers."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FEW_BYTES = 8  # two registers, which ptxas may give up to fit one more program on a processor


@pytest.mark.slow
# Turing, Ampere and Hopper, and the shared memory that a program may have there.
@pytest.mark.parametrize(("capability", "room"), [(75, 65_536), (86, 101_376), (90, 232_448)])
def test_kernels_compile(capability: int, room: int) -> None:
    for package in ("torch", "triton"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "support.compile_gpu_kernels", str(capability)],
        cwd=TESTS,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    kernels = json.loads(done.stdout)
    assert {each["kernel"] for each in kernels} >= {
        "attend", "join_parts", "join_segments", "multiply_floats", "multiply_planes", "pack_rows",
        "rms_norm", "rotate_and_store", "top_of_candidates", "top_of_stretches"
    }  # fmt: skip
    # Attention multiplies in float32 without matrix units, in more registers than there are.
    spilling = [each for each in kernels if each["stack_bytes"] > FEW_BYTES]
    assert {each["kernel"] for each in spilling} <= {"attend"}
    assert [each for each in kernels if each["shared_bytes"] > room] == []
    products = [each for each in kernels if each["kernel"] == "multiply_planes"]
    assert all(each["uses_int8_matrix_units"] == (capability >= 80) for each in products)
