"""The training loop: SmoothL1 on hidden states, soft cross-entropy on what the head makes of them.

Source: arXiv:2412.18934; the losses, their weights and the noise are EAGLE's, arXiv:2401.15077.
The learning rate is higher than there, since so small a draft sees a thousandth of the text. The
cross-entropy is over the draft's own tokens, not the whole vocabulary, for a sixth of the time.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from slipstream.apps.training.feature_store import Piece
from slipstream.apps.training.network import DraftNetwork
from slipstream.apps.training.recipe import Recipe
from slipstream.runtime.errors import OptionError

CROSS_ENTROPY_WEIGHT = 0.1
_NOISE = 0.1  # uniform, up to so many standard deviations of the hidden states
_BETAS = (0.9, 0.95)
_LARGEST_GRADIENT = 0.5
_LOWEST_RATE = 0.05  # of the highest, at the end
_SAVE_EVERY = 100  # steps


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenTarget:
    """What the draft shares with its target, float32.

    embedding  : (V, C)
    head       : (N, C), the rows that the draft scores
    whole_head : (V, C)
    """

    embedding: Tensor
    head: Tensor
    whole_head: Tensor


def optimise(
    network: DraftNetwork,
    target: FrozenTarget,
    pieces: Sequence[Piece],
    recipe: Recipe,
    checkpoint: Path,
    progress: Callable[[int, float], None],
) -> None:
    """Train in place, from the checkpoint on where there is one; progress (step, loss)."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, betas=_BETAS)
    start = _resume(network, optimiser, checkpoint, recipe)
    device = target.head.device
    spread = float(np.std(np.asarray(pieces[0].hidden, np.float32)))
    network.train()
    for step in range(start, recipe.steps):
        torch.manual_seed(step)
        hidden, tokens, is_row = _batch(pieces, recipe, step)
        hidden, tokens, is_row = hidden.to(device), tokens.to(device), is_row.to(device)
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * _share_of_rate(step, recipe)
        noisy = hidden[:, :-1] + (torch.rand_like(hidden[:, :-1]) - 0.5) * (2 * _NOISE * spread)
        with torch.autocast(device.type, torch.bfloat16):
            guessed = network(noisy, F.embedding(tokens[:, 1:], target.embedding))
            loss = _loss(guessed, hidden[:, 1:], is_row[:, 1:], target.head)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(network.parameters(), _LARGEST_GRADIENT)
        optimiser.step()
        progress(step + 1, loss.item())
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == recipe.steps:
            _save(network, optimiser, step + 1, checkpoint)


def _loss(guessed: Tensor, hidden: Tensor, is_row: Tensor, head: Tensor) -> Tensor:
    guessed, hidden = guessed[is_row], hidden[is_row]
    with torch.no_grad():
        wanted = F.linear(hidden, head).float().softmax(dim=-1)
    entropy = -(wanted * F.linear(guessed, head).float().log_softmax(dim=-1)).sum(dim=-1).mean()
    return F.smooth_l1_loss(guessed.float(), hidden) + CROSS_ENTROPY_WEIGHT * entropy


def _batch(pieces: Sequence[Piece], recipe: Recipe, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states (B, T, C), tokens (B, T) and which are not padding, of pieces by chance."""
    chance, longest = np.random.default_rng(step), 0
    chosen: list[Piece] = []
    while True:
        piece = pieces[int(chance.integers(len(pieces)))]
        longest = max(longest, len(piece.tokens))
        if chosen and longest * (len(chosen) + 1) > recipe.batch_tokens:
            break
        chosen.append(piece)
    longest = max(len(piece.tokens) for piece in chosen)
    hidden = np.zeros((len(chosen), longest, chosen[0].hidden.shape[1]), np.float32)
    tokens = np.zeros((len(chosen), longest), np.int64)
    is_row = np.zeros((len(chosen), longest), bool)
    for row, piece in enumerate(chosen):
        length = len(piece.tokens)
        hidden[row, :length], tokens[row, :length] = piece.hidden, piece.tokens
        is_row[row, :length] = True
    return torch.from_numpy(hidden), torch.from_numpy(tokens), torch.from_numpy(is_row)


def _share_of_rate(step: int, recipe: Recipe) -> float:
    """A linear rise, then half a cosine down."""
    rise = min(1.0, (step + 1) / recipe.warm_up)
    fall = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    return rise * (_LOWEST_RATE + (1 - _LOWEST_RATE) * fall)


def _save(
    network: DraftNetwork, optimiser: torch.optim.Optimizer, step: int, checkpoint: Path
) -> None:
    part = checkpoint.with_name(checkpoint.name + ".part")
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
    torch.save(state, part)
    part.replace(checkpoint)


def _resume(
    network: DraftNetwork, optimiser: torch.optim.Optimizer, checkpoint: Path, recipe: Recipe
) -> int:
    """Steps done; 0 without a checkpoint. Raises OptionError for one of no use here."""
    if not checkpoint.exists():
        return 0
    try:
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        done = int(state["step"])
    except Exception as error:  # torch raises many kinds for a damaged file
        raise OptionError(
            f"{checkpoint} can't be resumed ({error}); delete it to start anew"
        ) from error
    if done > recipe.steps:
        raise OptionError(
            f"steps: {done} are done already, more than the {recipe.steps} asked for; give at "
            f"least {done}, or delete {checkpoint} to start anew"
        )
    return done
