"""From a model and texts to a trained draft: collect, optimise, measure, write."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from slipstream.apps.training.card import write_card
from slipstream.apps.training.chain_acceptance import chain_acceptance
from slipstream.apps.training.feature_store import FeatureStore, Piece
from slipstream.apps.training.network import DraftNetwork
from slipstream.apps.training.optimisation import FrozenTarget, optimise
from slipstream.apps.training.pieces import frequent_tokens, is_held_out, read_pieces
from slipstream.apps.training.recipe import Recipe
from slipstream.cpu_kernels.reference.dequantize import dequantize
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.dovetail.config import DovetailConfig
from slipstream.runtime.dovetail.draft_file import write_draft
from slipstream.runtime.errors import OptionError
from slipstream.runtime.llm import LLM
from slipstream.runtime.models import head_name

Progress = Callable[[str, int, int, str], None]  # stage, done, total, what more there is to say


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """path : of the draft; acceptance : by depth, on held-out text."""

    path: Path
    acceptance: list[float]


def train_draft(
    llm: LLM,
    texts: Sequence[Path],
    folder: Path,
    *,
    recipe: Recipe,
    command: str,
    progress: Progress,
) -> Trained:
    """Train a draft of `llm` on texts; run again with the same arguments, it goes on.

    command : for the card
    Raises OptionError for texts, a window or a checkpoint that can't be used.
    """
    if recipe.window > llm.plan.context:
        raise OptionError(
            f"window: {recipe.window} tokens are more than the {llm.plan.context} that "
            f"{llm.config.name} has room for; give at most {llm.plan.context}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"out: {folder} can't be made a folder: {error.strerror}") from None
    with ModelFile.open(llm.path) as file:
        config = DovetailConfig.for_target(file, llm.config, recipe.blocks, recipe.window)
        pieces = read_pieces(texts, llm.tokenizer, recipe.window)
        store = FeatureStore(folder, pieces, f"{config.fingerprint} {file.size_bytes}")
        store.collect(llm.engine, lambda done, total: progress("collecting", done, total, ""))
        num_ids = min(recipe.head_tokens, llm.tokenizer.vocab_size)
        ids = frequent_tokens(pieces, num_ids, config.vocab_size)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        target = _frozen(file, ids, device)
    training, held_out = _parted(store.load())
    torch.manual_seed(0)
    network = DraftNetwork(config).to(device)
    name = f"dovetail-{recipe.blocks}"
    rest = f"{len(ids)}-{recipe.batch_tokens}-{recipe.learning_rate:g}"
    optimise(
        network,
        target,
        training,
        recipe,
        store.folder / f"{name}-of-{rest}.checkpoint.pt",
        lambda step, loss: progress("training", step, recipe.steps, f"loss {loss:.4f}"),
    )
    acceptance = chain_acceptance(network, target, ids, held_out)
    path = folder / f"{name}.safetensors"
    write_draft(path, config, _arrays_of(network), ids)
    write_card(
        path.with_suffix(".md"),
        config=config,
        recipe=recipe,
        texts=texts,
        trained_tokens=sum(len(piece.tokens) for piece in training),
        num_head_tokens=len(ids),
        acceptance=acceptance,
        command=command,
    )
    return Trained(path=path, acceptance=acceptance)


def _parted(pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Pieces to train on, and those held out; raises OptionError where none of these is new."""
    training = [piece for index, piece in enumerate(pieces) if not is_held_out(index)]
    known = {tuple(piece.tokens.tolist()) for piece in training}  # greedy answers come again
    held_out = [
        piece
        for index, piece in enumerate(pieces)
        if is_held_out(index) and tuple(piece.tokens.tolist()) not in known
    ]
    if not held_out:
        raise OptionError(
            "text: all that was held out is in the text to train on too, so that nothing could be "
            "measured; give text that repeats itself less"
        )
    return training, held_out


def _arrays_of(network: DraftNetwork) -> dict[str, np.ndarray]:
    """The network's weights by the names that a draft's file has."""
    return {name: values.cpu().numpy() for name, values in network.state_dict().items()}


def _frozen(file: ModelFile, ids: np.ndarray, device: torch.device) -> FrozenTarget:
    def values(name: str) -> torch.Tensor:
        tensor = file.tensors[name]
        return torch.from_numpy(dequantize(tensor.data, tensor.quant_type)).to(device)

    embedding = values("token_embd.weight")
    name = head_name(file.tensors)
    head = embedding if name == "token_embd.weight" else values(name)
    rows = torch.from_numpy(ids.astype(np.int64)).to(device)
    return FrozenTarget(embedding=embedding, head=head[rows], whole_head=head)
