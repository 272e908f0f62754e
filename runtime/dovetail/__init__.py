"""Dovetail: a small trained draft that continues the target's own hidden states.

Source: arXiv:2412.18934.
"""

from slipstream.runtime.dovetail.config import DovetailConfig
from slipstream.runtime.dovetail.draft_file import DraftFile

__all__ = ["DovetailConfig", "DraftFile"]
