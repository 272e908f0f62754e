"""How often a chain of the draft's likeliest tokens is right, by depth, on held-out text."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from slipstream.apps.training.feature_store import Piece
from slipstream.apps.training.network import DraftNetwork
from slipstream.apps.training.optimisation import FrozenTarget

DEPTH = 5
_STARTS = 4  # chains of a piece
_MOST_PIECES = 64


def chain_acceptance(
    network: DraftNetwork, target: FrozenTarget, head_tokens: np.ndarray, pieces: Sequence[Piece]
) -> list[float]:
    """Share of guesses that are what the target finds likeliest, at depth 1 to 5.

    At each depth only chains count whose guesses so far were all right and where the text went on
    with them: where it went elsewhere, the target's hidden states say nothing of the chain.
    """
    right, judged = np.zeros(DEPTH), np.zeros(DEPTH)
    network.eval()
    for piece in pieces[:_MOST_PIECES]:
        length = len(piece.tokens)
        first = max(1, min(4, length - DEPTH - 2))
        for start in np.linspace(first, max(first, length - DEPTH - 2), _STARTS, dtype=int):
            for depth, is_right in enumerate(_chain(network, target, head_tokens, piece, start)):
                judged[depth] += 1
                right[depth] += is_right
    return (right / np.maximum(judged, 1)).tolist()


@torch.no_grad()
def _chain(
    network: DraftNetwork, target: FrozenTarget, head_tokens: np.ndarray, piece: Piece, start: int
) -> list[bool]:
    """Of one chain after `start` rows: whether each guess was right, up to the last judged."""
    device = target.head.device
    hidden = torch.from_numpy(np.array(piece.hidden, np.float32)).to(device)
    tokens = torch.from_numpy(piece.tokens.astype(np.int64)).to(device)
    inputs, judged = hidden[:start], []
    for depth in range(min(DEPTH, len(tokens) - start - 1)):
        embedded = target.embedding[tokens[1 : start + depth + 1]]
        guessed = network(inputs[None], embedded[None])[0, -1:]
        guess = int(head_tokens[int((guessed @ target.head.T).argmax())])
        # The row after `start + depth` tokens of input says what follows one token later.
        likeliest = _likeliest(target, hidden[start + depth])
        judged.append(guess == likeliest)
        if guess != likeliest or guess != int(tokens[start + depth + 1]):
            break
        inputs = torch.cat([inputs, guessed])
    return judged


def _likeliest(target: FrozenTarget, hidden: Tensor) -> int:
    return int((target.whole_head @ hidden).argmax())
