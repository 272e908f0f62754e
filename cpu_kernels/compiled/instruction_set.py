"""Which byte dot product a kernel uses, chosen from what the host can run."""

from dataclasses import dataclass
from functools import cache

from llvmlite import binding


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionSet:
    """One way to compile the kernels.

    `dot` names the instruction behind `Emitter.dot4`; "plain" is correct on every host.
    """

    name: str
    requires: tuple[str, ...]  # LLVM feature names
    dot: str
    has_byte_shuffle: bool = False


# Best first. "plain" needs nothing and is last.
INSTRUCTION_SETS = {
    each.name: each
    for each in (
        InstructionSet(
            name="avx512_vnni",
            requires=("avx512vnni", "avx512bw", "avx512vl"),
            dot="vpdpbusd_512",
            has_byte_shuffle=True,
        ),
        InstructionSet(name="avx_vnni", requires=("avxvnni", "avx2"), dot="vpdpbusd_256"),
        InstructionSet(name="plain", requires=(), dot="plain"),
    )
}


@cache
def runnable() -> tuple[str, ...]:
    """Names of the instruction sets that this host can run, best first."""
    features = binding.get_host_cpu_features()
    return tuple(
        each.name
        for each in INSTRUCTION_SETS.values()
        if all(features.get(feature, False) for feature in each.requires)
    )
