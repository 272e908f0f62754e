"""How near a model's speeds are to what the machine can do at all."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from slipstream.cpu_kernels.compiled.dot_rate import MULTIPLY_ADDS_A_TURN, dots
from slipstream.runtime.checkpoint import ModelFile

_TURNS, _RUNS = 2_000_000, 20  # some milliseconds each


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What was measured of the machine, with all threads."""

    read_bytes_per_s: float
    dot_multiply_adds_per_s: float  # of the instruction that the kernels use, alone

    @classmethod
    def measure(cls, read_gb_per_s: float, threads: int) -> "Ceilings":
        return cls(
            read_bytes_per_s=read_gb_per_s * 1e9,
            dot_multiply_adds_per_s=_dot_multiply_adds_per_s(threads),
        )


def _dot_multiply_adds_per_s(num_threads: int) -> float:
    """The best of some runs, since anything else on the machine can only slow it down."""
    dots(1)  # compiled, or read from the kernel cache
    seconds = []
    with ThreadPoolExecutor(num_threads) as threads:
        for _ in range(_RUNS):
            start = time.perf_counter()
            list(threads.map(dots, [_TURNS] * num_threads))
            seconds.append(time.perf_counter() - start)
    return num_threads * _TURNS * MULTIPLY_ADDS_A_TURN / min(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What a model reached a second, and that as a share (0 to 1) of the ceilings."""

    prefill_multiply_adds_per_s: float
    prefill_of_dot_peak: float
    decode_bytes_per_s: float
    decode_of_read_bandwidth: float

    @classmethod
    def of(
        cls,
        ceilings: Ceilings,
        *,
        prefill_tok_per_s: float,
        decode_tok_per_s: float,
        path: Path,
        read_bytes_per_token: int,
    ) -> "Shares":
        """Of the medians of a model file, whose weights are read once for each decoded token."""
        multiply_adds = prefill_tok_per_s * layer_parameters(path)
        read = decode_tok_per_s * read_bytes_per_token
        return cls(
            prefill_multiply_adds_per_s=multiply_adds,
            prefill_of_dot_peak=multiply_adds / ceilings.dot_multiply_adds_per_s,
            decode_bytes_per_s=read,
            decode_of_read_bandwidth=read / ceilings.read_bytes_per_s,
        )


def layer_parameters(path: Path) -> int:
    """Numbers in the matrices of the layers: multiply-adds of a prompt token, attention aside."""
    with ModelFile.open(path) as file:
        return sum(
            tensor.shape[0] * tensor.shape[1]
            for name, tensor in file.tensors.items()
            if name.startswith("blk.") and len(tensor.shape) == 2
        )
