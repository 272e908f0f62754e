"""`prepare` compiles all that a model needs: no token waits for a kernel."""

import subprocess
import sys
from pathlib import Path

import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.runtime.errors import OptionError
from slipstream.runtime.llm import LLM
from support.roomy_machine import ROOMY, roomy_machine
from support.tiny_gguf import ARCHITECTURES, write_tiny_model

KINDS = [
    *((architecture, kv) for architecture in ARCHITECTURES for kv in ("f16", "q8_0")),
    ("llama", "q4_0"),
]

# Run in fresh interpreters: in this one other tests have loaded kernels of their own. The first may
# have to compile, the second finds everything compiled.
PROGRAM = """
import sys
from slipstream.cpu_kernels.compiled import kernel_library
from slipstream.runtime.llm import LLM

load = kernel_library._load
with LLM(sys.argv[1], kv=sys.argv[2]) as llm:
    loaded = load.cache_info().misses
    llm.generate("the and on we " * 20, max_tokens=10, seed=1)
    llm.logits(llm.tokenize("the and"))
    print(loaded, load.cache_info().misses, "numba" in sys.modules)
"""


@pytest.mark.parametrize(("architecture", "kv"), KINDS)
def test_loading_loads_every_kernel_and_no_compiler(
    tmp_path: Path, architecture: str, kv: str
) -> None:
    path = tmp_path / "tiny.gguf"
    # Norms are float32, matrices Q6_K, the embedding Q8_0: all three must be prepared.
    write_tiny_model(
        path,
        architecture=architecture,
        quant_type=QuantType.Q6_K,
        embedding_type=QuantType.Q8_0,
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", ROOMY + PROGRAM, str(path), kv],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        loaded, used, has_numba = done.stdout.split()
        assert int(loaded) > 0
        assert used == loaded
    assert has_numba == "False"


def test_each_model_gets_the_threads_that_were_asked_for(tmp_path: Path) -> None:
    """The workers are shared: a model loaded later must not change an earlier one's."""
    path = tmp_path / "tiny.gguf"
    write_tiny_model(path, architecture="llama", quant_type=QuantType.Q8_0)
    with roomy_machine(), LLM(path, threads=1) as one:
        try:
            two = LLM(path, threads=2)
        except OptionError as error:
            pytest.skip(str(error))
        for llm, num_threads in ((one, 1), (two, 2), (one, 1)):
            assert llm.plan.threads == num_threads
            llm.generate("the", max_tokens=2)
            assert POOL.num_threads == num_threads
        two.close()
