"""What is trained, for how long and how fast."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What one training of a draft is to be.

    blocks        : of the draft
    window        : tokens of a piece of text, which is how far back the draft will see
    head_tokens   : that the draft scores, the most frequent ones
    steps         : of the optimiser, in all
    batch_tokens  : of a step, about
    learning_rate : the highest
    warm_up       : steps until it is reached
    """

    blocks: int = 1
    window: int = 512
    head_tokens: int = 8192
    steps: int = 1000
    batch_tokens: int = 4096
    learning_rate: float = 1e-3
    warm_up: int = 50
