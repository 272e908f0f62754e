"""Errors of planning: what was asked for can't be done on this machine.

PlanError
├── PlanOptionError   a number or a name that the machine or the model can't have
└── PlanMemoryError   the model, with the context asked for, does not fit in memory

The runtime turns these into the errors that users meet (`slipstream.runtime.errors`).
"""


class PlanError(Exception):
    """No plan exists for this model, machine and request; the message says why and what to do."""


class PlanOptionError(PlanError, ValueError):
    """What was asked for is outside what the machine or the model allows."""


class PlanMemoryError(PlanError, MemoryError):
    """The model with its KV cache needs more memory than the machine can give it."""
