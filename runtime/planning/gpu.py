"""The GPU that a model may be planned onto, or why there is none."""

from dataclasses import dataclass

from slipstream.offload.device_costs import MachineCosts
from slipstream.offload.machine import Machine
from slipstream.offload.memory import ram_margin_bytes
from slipstream.offload.profile.gpu_access import NoGpuError, gpu_problem
from slipstream.offload.profile.profiling import Progress, measured_profile
from slipstream.offload.units import format_bytes
from slipstream.runtime.backends import Backend, load_backend
from slipstream.runtime.errors import OptionError
from slipstream.runtime.options import Options

# Until the kernels have passed their tests on a real GPU, nobody gets one unasked.
NOT_ASKED_FOR = "not asked for with vram_bytes, and these kernels are new"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU that answers.

    costs : of the machine; its `vram_bytes` are those that are free
    """

    name: str
    backend: Backend
    costs: MachineCosts


def find_gpu(
    options: Options,
    machine: Machine,
    threads: int,
    quant_types: tuple[str, ...],
    progress: Progress | None = None,
    *,
    may_have_less: bool = False,
) -> Gpu:
    """The GPU of this machine, whose costs are measured where they are not known.

    quant_types   : of the matrices that will be planned
    may_have_less : whether less memory may be free than `options` ask for
    Raises NoGpuError where `options` ask for none, OptionError where they do and there is none.
    """
    if options.vram_bytes == 0:
        raise NoGpuError("vram_bytes is 0")
    if options.vram_bytes is None and machine.gpus:
        raise NoGpuError(NOT_ASKED_FOR)
    if (problem := gpu_problem(machine)) is not None:
        raise _refusal(options, problem)
    profile = measured_profile(threads, machine=machine, quant_types=quant_types, progress=progress)
    if profile.gpu_problem is not None:
        raise _refusal(options, profile.gpu_problem)
    backend = load_backend("triton")
    free_bytes = backend.ops.free_bytes()
    name = next(gpu.name for gpu in machine.gpus if gpu.vram_total_bytes is not None)
    if not may_have_less and (options.vram_bytes or 0) > free_bytes:
        raise OptionError(
            f"vram_bytes: {format_bytes(options.vram_bytes or 0)} are not free on {name}, only "
            f"{format_bytes(free_bytes)} are; ask for less, or close what uses the rest"
        )
    ram_bytes = machine.ram_available_bytes - ram_margin_bytes(machine.ram_total_bytes)
    return Gpu(
        name=name,
        backend=backend,
        costs=profile.costs(ram_bytes=max(0, ram_bytes), vram_bytes=free_bytes),
    )


def _refusal(options: Options, problem: str) -> Exception:
    if options.vram_bytes is None:
        return NoGpuError(problem)
    return OptionError(
        f"vram_bytes: the GPU can't be used: {problem}; leave vram_bytes out to compute on the CPU"
    )
