"""Which byte instructions kernels use, chosen from what the host can run."""

import os
import platform
from dataclasses import dataclass
from functools import cache

from slipstream.cpu_kernels.host_cpu import host_features

ENVIRONMENT = "SLIPSTREAM_INSTRUCTION_SET"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionSet:
    """One way to compile the kernels.

    `dot` names the instruction behind `Emitter.dot4`, `shuffle` the one behind `Emitter.lookup`;
    "plain" is correct on every host.
    """

    name: str
    requires: tuple[str, ...]  # LLVM feature names
    dot: str
    shuffle: str = "plain"


# Best first. "plain" needs nothing and is last.
INSTRUCTION_SETS = {
    each.name: each
    for each in (
        InstructionSet(
            name="avx512_vnni",
            requires=("avx512vnni", "avx512bw", "avx512vl"),
            dot="vpdpbusd_512",
            shuffle="pshufb_512",
        ),
        InstructionSet(
            name="avx_vnni",
            requires=("avxvnni", "avx2"),
            dot="vpdpbusd_256",
            shuffle="pshufb_256",
        ),
        InstructionSet(name="avx2", requires=("avx2",), dot="pmaddubsw_256", shuffle="pshufb_256"),
        InstructionSet(name="neon_dot", requires=("neon", "dotprod"), dot="sdot", shuffle="tbl"),
        InstructionSet(name="plain", requires=(), dot="plain"),
    )
}


@cache
def runnable() -> tuple[str, ...]:
    """Names of the instruction sets that this host can run, best first."""
    features = host_features()
    return tuple(
        each.name for each in INSTRUCTION_SETS.values() if features.issuperset(each.requires)
    )


def chosen_instruction_set() -> str:
    """The best that this host can run, or what SLIPSTREAM_INSTRUCTION_SET names.

    Raises ValueError when the host can't run that one, or none: LLVM's float16 needs f16c on x86.
    """
    if platform.machine() == "x86_64" and "f16c" not in host_features():
        raise ValueError("this CPU lacks f16c, which all kernels need; x86 has it since 2012")
    named = os.environ.get(ENVIRONMENT)
    try:
        return checked(named or runnable()[0])
    except ValueError as error:
        raise ValueError(f"{ENVIRONMENT}: {error}") from None


def checked(name: str) -> str:
    """`name`; raises ValueError unless this host can run it."""
    if name in runnable():
        return name
    if name in INSTRUCTION_SETS:
        problem = f"which needs {', '.join(INSTRUCTION_SETS[name].requires)}"
    else:
        problem = f"which is none of {', '.join(INSTRUCTION_SETS)}"
    raise ValueError(
        f"instruction set: this CPU runs {', '.join(runnable())}; got {name!r}, {problem}"
    )
