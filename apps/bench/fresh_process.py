"""What `cold_start` runs: one side from nothing to the first token, in a process of its own.

Only that side is imported, and little else, so that the peak memory is the side's.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slipstream.apps.bench.workload import Workload
from slipstream.offload.memory import peak_resident_bytes

if TYPE_CHECKING:
    from slipstream.apps.bench.speed import Side

_PROMPT = tuple(range(100, 116))  # ids that every vocabulary has


def main() -> None:
    """Load the side and file named by the arguments, run a short prompt, print the figures."""
    name, path = sys.argv[1:3]
    workload = Workload(**json.loads(sys.argv[3]))
    side: Side
    if name == "llama.cpp":
        from slipstream.apps.bench.llama_cpp_side import LlamaCppSide

        side = LlamaCppSide(Path(path), workload)
    elif name == "slipstream":
        from slipstream.apps.bench.slipstream_side import SlipstreamSide

        side = SlipstreamSide(Path(path), workload)
    else:
        raise ValueError(f"no side is called {name!r}")
    run = side.run(_PROMPT[: workload.prefill_tokens], 0)
    figures = {"first_token_s": run.load_s + run.prefill_s, "peak_bytes": peak_resident_bytes()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
