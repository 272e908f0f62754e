"""Steps that loading a model and loading its draft have in common."""

import functools
from collections.abc import Callable

from slipstream.runtime.backends import Backend
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import CheckpointError
from slipstream.runtime.models import ModelConfig
from slipstream.runtime.tokenizer import Tokenizer

Progress = Callable[[str, int, int], None]  # stage, done, total


def stage_of(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    """Progress of one stage: (done, total)."""
    return None if progress is None else functools.partial(progress, stage)


def prepare_kernels(file: ModelFile, backend: Backend, progress: Progress | None) -> None:
    """Have the kernels ready that the file's quantisations need."""
    backend.ops.prepare(
        {tensor.quant_type for tensor in file.tensors.values()},
        stage_of(progress, "compiling kernels for this CPU (once)"),
    )


def check_vocabulary(file: ModelFile, config: ModelConfig, tokenizer: Tokenizer) -> None:
    """An embedding may be padded beyond the tokens; the size in the header counts either."""
    num_rows, num_tokens = config.vocab_size, tokenizer.vocab_size
    if num_tokens > num_rows:
        raise CheckpointError(
            f"{file.path}: {num_tokens} tokens but {num_rows} embedding rows; the file is damaged"
        )
    key = f"{config.architecture}.vocab_size"
    stated = file.get_int(key, num_rows)
    if stated not in (num_rows, num_tokens):
        raise CheckpointError(
            f"{file.path}: {key} is {stated}, but there are {num_tokens} tokens and {num_rows} "
            "embedding rows; the file is damaged"
        )
