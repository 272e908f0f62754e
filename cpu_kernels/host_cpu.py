"""What the host's processor is and can do, asked without loading a compiler where that can be."""

import platform
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# The line that lists features, by architecture. An emulator may show another processor's lines.
_FEATURE_LINES = {"x86_64": "flags", "aarch64": "Features"}
# Linux's names of features that LLVM calls otherwise.
_LLVM_NAMES = {
    "avx_vnni": "avxvnni",
    "avx512_vnni": "avx512vnni",
    "avx512_bf16": "avx512bf16",
    "amx_int8": "amx-int8",
    "asimd": "neon",
    "asimddp": "dotprod",
}
_IDENTITY_LINES = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")


def host_features(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """The features that the host has and its system allows.

    Those that this package asks for have LLVM's names. Empty where neither system nor LLVM knows.
    """
    listed = _fields(cpuinfo).get(_FEATURE_LINES.get(platform.machine(), ""))
    if listed is not None:
        return frozenset(_LLVM_NAMES.get(each, each) for each in listed.split())
    from llvmlite import binding

    try:
        found = binding.get_host_cpu_features()
    except RuntimeError:
        return frozenset()
    return frozenset(name for name, has in found.items() if has)


def host_identity(cpuinfo: Path = _CPUINFO) -> str:
    """A text that differs between processors for which code is compiled differently."""
    fields = _fields(cpuinfo)
    parts = [fields[name] for name in _IDENTITY_LINES if name in fields]
    if not parts:
        from llvmlite import binding

        parts = [str(binding.get_host_cpu_name())]
    return " ".join([*parts, *sorted(host_features(cpuinfo))])


@cache
def _fields(cpuinfo: Path) -> dict[str, str]:
    """The lines `key : value` of the first processor."""
    try:
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    lines = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
