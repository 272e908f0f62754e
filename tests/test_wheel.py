"""The built wheel has every Python file of the tree, the type marker, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("apps", "cpu_kernels", "gpu_kernels", "offload", "runtime", "slipstream")
OLDEST_SETUPTOOLS = "77"  # pyproject.toml's build requirement


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built offline from a copy of the tree, so that no earlier build's files get in."""
    pytest.importorskip("setuptools", minversion=OLDEST_SETUPTOOLS)
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def in_the_wheel(path: Path) -> str:
    """Where a file of the tree belongs: `runtime/llm.py` in slipstream/runtime/llm.py."""
    relative = path.relative_to(ROOT)
    return relative.as_posix() if relative.parts[0] == "slipstream" else f"slipstream/{relative}"


def test_the_wheel_has_the_trees_files(wheel: zipfile.ZipFile) -> None:
    tree = {in_the_wheel(path) for name in FOLDERS for path in (ROOT / name).rglob("*.py")}
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert tree | {"slipstream/py.typed"} == packed


def test_every_folder_of_modules_is_a_package() -> None:
    """Without its __init__.py a folder would be left out of the wheel."""
    for name in FOLDERS:
        for path in (ROOT / name).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path.parent


def test_the_wheels_metadata(wheel: zipfile.ZipFile) -> None:
    names = {name.partition(".dist-info/")[2]: name for name in wheel.namelist()}
    metadata = wheel.read(names["METADATA"]).decode()
    assert "\nName: slipstream\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "licenses/LICENSE" in names
    assert "slipstream = slipstream.__main__:main" in wheel.read(names["entry_points.txt"]).decode()
