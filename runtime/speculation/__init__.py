"""Speculative decoding: drafts that the target verifies many tokens at a time."""

from slipstream.runtime.speculation.draft_tree import EMPTY, ROOT, DraftTree
from slipstream.runtime.speculation.drafter import Drafter, Guess
from slipstream.runtime.speculation.ngram_lookup import NgramLookup
from slipstream.runtime.speculation.speculation import Speculation, drafter_names
from slipstream.runtime.speculation.speculation_stats import SpeculationStats
from slipstream.runtime.speculation.speculator import SpeculationState, Speculator
from slipstream.runtime.speculation.token_recycling import TokenRecycling

__all__ = [
    "EMPTY",
    "ROOT",
    "DraftTree",
    "Drafter",
    "Guess",
    "NgramLookup",
    "Speculation",
    "SpeculationState",
    "SpeculationStats",
    "Speculator",
    "TokenRecycling",
    "drafter_names",
]
