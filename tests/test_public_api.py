"""The names that packages promise, and that importing them is quick."""

import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import slipstream
from slipstream.runtime.errors import SlipstreamError

ROOT = Path(__file__).parents[1]
OPTIONAL = ("torch", "triton")
FOLDERS = ("apps", "cpu_kernels", "gpu_kernels", "offload", "runtime")


def all_modules() -> list[str]:
    """Every module of the tree below `slipstream`."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    return [".".join(["slipstream", *each]).removesuffix(".__init__") for each in parts]


def run(program: str) -> str:
    """Output of a program in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", all_modules())
def test_all_names_resolve(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not installed")
    except ImportError as error:
        if type(error).__name__ != "NoDeviceError":
            raise
        pytest.skip(str(error))
    promised = getattr(module, "__all__", [])
    assert len(set(promised)) == len(promised)
    for each in promised:
        assert hasattr(module, each), f"{name}.__all__ promises {each}"


def test_the_public_names() -> None:
    assert set(slipstream.__all__) == {
        "LLM",
        "Completion",
        "Options",
        "Piece",
        "Session",
        "SlipstreamError",
        "Timings",
    }
    assert dir(slipstream) == sorted(slipstream.__all__)
    for name in slipstream.__all__:
        assert getattr(slipstream, name).__name__ == name
    assert slipstream.SlipstreamError is SlipstreamError
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = slipstream.Nothing


def test_the_version_is_the_distributions() -> None:
    assert slipstream.__version__ == importlib.metadata.version("slipstream")


def test_every_error_is_a_slipstream_error() -> None:
    errors = importlib.import_module("slipstream.runtime.errors")
    for name in [each for each in vars(errors) if each.endswith("Error")]:
        assert issubclass(getattr(errors, name), SlipstreamError)
        assert name in (errors.__doc__ or ""), f"{name} is not in the drawn tree"


def test_importing_slipstream_loads_no_kernels() -> None:
    """`slipstream --help` must not wait for Numba."""
    heavy = ("numba", "numpy", "llvmlite", "torch", "jinja2")
    loaded = run(
        f"import sys, slipstream; print([each for each in {heavy} if each in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_importing_the_llm_loads_no_kernels() -> None:
    """They are imported when a model is loaded: an option error comes at once."""
    loaded = run("import sys, slipstream; slipstream.LLM; print('numba' in sys.modules)")
    assert loaded.strip() == "False"


def test_torch_is_not_needed() -> None:
    blocked = (
        "import sys; sys.modules.update(torch=None, triton=None, llama_cpp=None, gguf=None);"
        "from slipstream import LLM; import slipstream.cpu_kernels.compiled; print(LLM.__name__)"
    )
    assert run(blocked).strip() == "LLM"
