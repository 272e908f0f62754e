"""The model card beside a trained draft."""

from collections.abc import Sequence
from pathlib import Path

from slipstream.apps.training.optimisation import CROSS_ENTROPY_WEIGHT
from slipstream.apps.training.pieces import HELD_OUT_EVERY
from slipstream.apps.training.recipe import Recipe
from slipstream.runtime.dovetail.config import DovetailConfig


def write_card(
    path: Path,
    *,
    config: DovetailConfig,
    recipe: Recipe,
    texts: Sequence[Path],
    trained_tokens: int,
    num_head_tokens: int,
    acceptance: Sequence[float],
    command: str,
) -> None:
    """Write what the draft is, what it was trained on, and how often it is right."""
    depths = " | ".join(str(depth + 1) for depth in range(len(acceptance)))
    shares = " | ".join(f"{share:.1%}" for share in acceptance)
    names = ", ".join(text.name for text in texts)
    path.write_text(
        f"""# Dovetail draft of {config.target}

Drafts for {config.target} and for no other model (fingerprint `{config.fingerprint}`); it says
nothing on its own, and whatever it guesses, the text stays the target's. Method: arXiv:2412.18934.

```
slipstream run -m TARGET --draft {path.with_suffix(".safetensors").name} "..."
```

- {config.num_blocks} block(s) of width {config.hidden_size}, after dynamic gating fusion; float16
- scores {num_head_tokens:,} tokens with the target's own head rows; and its embedding
- sees {config.window} tokens

## Training

- {trained_tokens:,} tokens of {names}; one piece of {HELD_OUT_EVERY} held out
- {recipe.steps} steps of about {recipe.batch_tokens:,} tokens, AdamW, learning rate \
{recipe.learning_rate:g}, warm-up {recipe.warm_up}; SmoothL1 + {CROSS_ENTROPY_WEIGHT} soft \
cross-entropy over those {num_head_tokens:,} tokens; uniform noise on hidden states
- `{command}`

## Acceptance on held-out text

Share of a chain's guesses that are the target's likeliest token, where all before were right:

| depth | {depths} |
|---|{"---|" * len(acceptance)}
| right | {shares} |
""",
        encoding="utf-8",
    )
