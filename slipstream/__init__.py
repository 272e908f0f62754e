"""Slipstream runs language models on lopsided machines: a strong CPU and a small GPU or none.

from slipstream import LLM
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slipstream.runtime.completion import Completion, Piece, Timings
    from slipstream.runtime.errors import SlipstreamError
    from slipstream.runtime.llm import LLM
    from slipstream.runtime.options import Options
    from slipstream.runtime.session import Session

__all__ = ["LLM", "Completion", "Options", "Piece", "Session", "SlipstreamError", "Timings"]
__version__ = "0.1.0"

_HOMES = {
    "LLM": "llm",
    "Completion": "completion",
    "Options": "options",
    "Piece": "completion",
    "Session": "session",
    "SlipstreamError": "errors",
    "Timings": "completion",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: `slipstream --help` should not wait for the kernels."""
    if name not in _HOMES:
        raise AttributeError(f"module 'slipstream' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"slipstream.runtime.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
