"""The machine and the programs that figures were measured with."""

import platform
from dataclasses import asdict, replace
from typing import Any

import numba
import numpy as np

from slipstream.offload.bandwidth import measured_read_bandwidth
from slipstream.offload.machine import Machine, default_threads, probe


def measured_machine(threads: int | None) -> tuple[Machine, int]:
    """This machine with its read bandwidth measured now, and the threads: one a core if None."""
    machine = probe()
    threads = threads or default_threads(machine)
    bandwidth = measured_read_bandwidth(threads, machine=machine, again=True)
    return replace(machine, read_gb_per_s=bandwidth), threads


def surroundings(machine: Machine, *, command: str, measured_at: str) -> dict[str, Any]:
    """The beginning of every report."""
    return {
        "command": command,
        "measured_at": measured_at,
        "machine": asdict(machine),
        "versions": {
            "python": platform.python_version(),
            "numba": numba.__version__,
            "numpy": np.__version__,
            "system": platform.platform(terse=True),
        },
    }
