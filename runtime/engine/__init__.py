"""The engine: one thread that runs every caller's tokens through the model, step by step."""

from slipstream.runtime.engine.collecting_job import CollectingJob
from slipstream.runtime.engine.engine import Engine
from slipstream.runtime.engine.generation import Generation, TokenStream
from slipstream.runtime.engine.job import LARGEST_CHUNK, Job
from slipstream.runtime.engine.scoring import Scoring
from slipstream.runtime.engine.streaming_choice import Streaming
from slipstream.runtime.engine.warm_up import WarmUp, warm_ups

__all__ = [
    "LARGEST_CHUNK",
    "CollectingJob",
    "Engine",
    "Generation",
    "Job",
    "Scoring",
    "Streaming",
    "TokenStream",
    "WarmUp",
    "warm_ups",
]
