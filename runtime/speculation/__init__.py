"""Speculative decoding: drafts that the target verifies many tokens at a time."""

from slipstream.runtime.speculation.draft_model import DraftModel
from slipstream.runtime.speculation.draft_tree import EMPTY, ROOT, DraftTree
from slipstream.runtime.speculation.drafter import CostlyDrafter, Drafter, Guess
from slipstream.runtime.speculation.following_drafter import CATCH_UP_ROWS
from slipstream.runtime.speculation.model_drafter import ModelDrafter
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
from slipstream.runtime.speculation.speculation_state import SpeculationState
from slipstream.runtime.speculation.speculation_stats import SpeculationStats
from slipstream.runtime.speculation.speculator import Speculator
from slipstream.runtime.speculation.timed_sequence import (
    DRAFT_KV,
    MOST_TIMED_ROWS,
    TimedSequence,
)

__all__ = [
    "ACCEPTANCES",
    "CATCH_UP_ROWS",
    "DOVETAIL",
    "DRAFT_KV",
    "EMPTY",
    "MATCH",
    "MODEL",
    "MOST_TIMED_ROWS",
    "OFF",
    "ROOT",
    "CostlyDrafter",
    "DraftModel",
    "DraftTree",
    "Drafter",
    "Guess",
    "ModelDrafter",
    "Speculation",
    "SpeculationState",
    "SpeculationStats",
    "Speculator",
    "TimedSequence",
    "drafter_names",
    "drafter_of",
]
