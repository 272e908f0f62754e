"""A side in a process of its own: from nothing to the first token, and the most memory it took."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from slipstream.apps.bench import fresh_process
from slipstream.apps.bench.workload import Workload
from slipstream.runtime.errors import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """first_token_s counts from before the model is loaded; imports are not in it."""

    first_token_s: float
    peak_bytes: int  # resident


def measure_cold_starts(
    names: Sequence[str], path: Path, workload: Workload, repeats: int
) -> dict[str, ColdStart]:
    """Median times and largest memory of fresh processes, in turns, after one each to warm up."""
    runs: dict[str, list[ColdStart]] = {name: [] for name in names}
    for turn in range(repeats + 1):
        for name in names:
            run = _in_process(name, path, workload)
            if turn:
                runs[name].append(run)
    return {
        name: ColdStart(
            first_token_s=statistics.median(run.first_token_s for run in own),
            peak_bytes=max(run.peak_bytes for run in own),
        )
        for name, own in runs.items()
    }


def _in_process(name: str, path: Path, workload: Workload) -> ColdStart:
    arguments = [name, str(path), json.dumps(asdict(workload))]
    done = subprocess.run(
        [sys.executable, "-m", fresh_process.__name__, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EngineError(f"{name} failed to start with {path}: {done.stderr.strip()[-300:]}")
    return ColdStart(**json.loads(done.stdout.splitlines()[-1]))
