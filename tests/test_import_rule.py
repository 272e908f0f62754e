"""Imports point one way: apps -> runtime -> offload -> kernels."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What each folder may import besides itself.
ALLOWED = {
    "apps": {"runtime", "offload", "cpu_kernels", "gpu_kernels"},
    "runtime": {"offload", "cpu_kernels", "gpu_kernels"},
    "offload": {"cpu_kernels", "gpu_kernels"},
    "cpu_kernels": set(),
    "gpu_kernels": {"cpu_kernels"},
    "slipstream": {"apps", "runtime"},
}
# Kernels know arrays and nothing else of this project, and what they are compiled with.
KERNEL_PACKAGES = {"llvmlite", "numba", "numpy", "platformdirs", "torch", "triton"}


def imported(source: str, package: str) -> set[str]:
    """Absolute names of all modules that a source imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [base])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def violations(folder: str, source: str, package: str) -> list[str]:
    """The imports of one file of a folder that break the rule."""
    wrong = []
    for name in imported(source, package):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top in ALLOWED and top != "slipstream":
            wrong.append(f"{name}: import it as slipstream.{name}")
        elif top != "slipstream":
            continue
        elif target in ALLOWED:
            if target not in ALLOWED[folder] | {folder}:
                wrong.append(f"{name}: {folder} may not import {target}")
        elif folder != "apps":  # a public name, such as slipstream.LLM
            wrong.append(f"{name}: import it from the module that defines it")
    return wrong


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_point_one_way(folder: str) -> None:
    assert sources(folder), f"{folder} has no Python files"
    wrong = []
    for path in sources(folder):
        relative = path.relative_to(ROOT)
        package = ".".join(["slipstream", *relative.parent.parts])
        found = violations(folder, path.read_text(encoding="utf-8"), package)
        wrong += [f"{relative}: {each}" for each in found]
    assert wrong == []


@pytest.mark.parametrize("folder", ["cpu_kernels", "gpu_kernels"])
def test_kernels_know_arrays_and_nothing_else(folder: str) -> None:
    import sys

    for path in sources(folder):
        names = imported(path.read_text(encoding="utf-8"), f"slipstream.{folder}")
        packages = {name.partition(".")[0] for name in names} - {"slipstream"}
        assert packages <= KERNEL_PACKAGES | sys.stdlib_module_names, path


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("offload", "from slipstream.runtime.errors import OptionError"),
        ("offload", "def f():\n    import slipstream.runtime.llm"),
        ("runtime", "from slipstream import apps"),
        ("runtime", "from runtime.errors import OptionError"),
        ("runtime", "import offload.machine"),
        ("runtime", "from slipstream import LLM"),
        ("runtime", "from ..apps import cli"),
        ("cpu_kernels", "from slipstream.offload import plan"),
        ("gpu_kernels", "if True:\n    from slipstream.runtime import backends"),
    ],
)
def test_the_rule_finds_what_breaks_it(folder: str, source: str) -> None:
    assert violations(folder, source, f"slipstream.{folder}")


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("apps", "from slipstream import LLM"),
        ("apps", "from slipstream.offload.machine import probe"),
        ("runtime", "from slipstream.cpu_kernels import QuantType"),
        ("runtime", "from . import errors\nimport numpy.typing"),
    ],
)
def test_the_rule_lets_the_rest_be(folder: str, source: str) -> None:
    assert violations(folder, source, f"slipstream.{folder}") == []
