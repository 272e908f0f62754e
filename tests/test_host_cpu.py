"""What the system says of its processor, in LLVM's names."""

import platform
from pathlib import Path

import pytest
from llvmlite import binding

from slipstream.cpu_kernels.compiled import instruction_set
from slipstream.cpu_kernels.compiled.instruction_set import chosen_instruction_set
from slipstream.cpu_kernels.host_cpu import host_features, host_identity

REAL_MACHINE = platform.machine()
X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
flags\t\t: fpu avx2 fma f16c avx512f avx512_vnni avx_vnni amx_int8

processor\t: 1
flags\t\t: something_else
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0c
"""


def cpuinfo(folder: Path, text: str) -> Path:
    path = folder / str(abs(hash(text)))
    path.write_text(text)
    return path


@pytest.fixture(autouse=True)
def _on_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def test_features_have_llvms_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x86 = host_features(cpuinfo(tmp_path, X86))
    assert x86 >= {"avx2", "fma", "f16c", "avx512f", "avx512vnni", "avxvnni", "amx-int8"}
    assert "something_else" not in x86
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert host_features(cpuinfo(tmp_path, ARM)) == {"fp", "neon", "dotprod"}


def test_another_processors_list_is_not_taken(tmp_path: Path) -> None:
    """As an emulator shows it: LLVM knows what this process runs on."""
    assert host_features(cpuinfo(tmp_path, ARM)) == host_features(tmp_path / "none")


def test_a_cpu_without_float16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM would end the process."""
    monkeypatch.setattr(instruction_set, "host_features", lambda: frozenset({"avx2"}))
    with pytest.raises(ValueError, match="lacks f16c"):
        chosen_instruction_set()


@pytest.mark.skipif(REAL_MACHINE != "x86_64", reason="asks for features of x86")
def test_the_system_and_llvm_agree_on_this_host() -> None:
    """On what chooses an instruction set: each would compile for it, or crash."""
    known = {name for name, has in binding.get_host_cpu_features().items() if has}
    for name in ("avx2", "fma", "f16c", "avxvnni", "avx512f", "avx512bw", "avx512vl", "avx512vnni"):
        assert (name in host_features()) == (name in known), name


def test_without_the_file_llvm_is_asked(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    known = {name for name, has in binding.get_host_cpu_features().items() if has}
    assert host_features(missing) == known
    assert host_identity(missing).startswith(binding.get_host_cpu_name())


def test_processors_that_differ_have_other_identities(tmp_path: Path) -> None:
    texts = [X86, ARM, X86.replace("model\t\t: 2", "model\t\t: 3"), X86.replace(" avx2", "")]
    assert len({host_identity(cpuinfo(tmp_path, text)) for text in texts}) == len(texts)
