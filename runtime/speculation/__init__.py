"""Speculative decoding: drafts that the target verifies many tokens at a time."""

from slipstream.runtime.speculation.draft_model import DraftModel
from slipstream.runtime.speculation.draft_tree import EMPTY, ROOT, DraftTree
from slipstream.runtime.speculation.drafter import CostlyDrafter, Drafter, Guess
from slipstream.runtime.speculation.speculation import (
    ACCEPTANCES,
    DOVETAIL,
    MATCH,
    MODEL,
    OFF,
    Speculation,
    drafter_names,
    drafter_of,
)
from slipstream.runtime.speculation.speculation_stats import SpeculationStats
from slipstream.runtime.speculation.speculator import SpeculationState, Speculator

__all__ = [
    "ACCEPTANCES",
    "DOVETAIL",
    "EMPTY",
    "MATCH",
    "MODEL",
    "OFF",
    "ROOT",
    "CostlyDrafter",
    "DraftModel",
    "DraftTree",
    "Drafter",
    "Guess",
    "Speculation",
    "SpeculationState",
    "SpeculationStats",
    "Speculator",
    "drafter_names",
    "drafter_of",
]
