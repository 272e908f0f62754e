"""A draft ready to run: fusion, blocks, the target's embedding and head, and a KV cache."""

from collections.abc import Sequence

import numpy as np

from slipstream.cpu_kernels import QuantType
from slipstream.runtime.backends import Backend
from slipstream.runtime.checkpoint import ModelFile, Tensor
from slipstream.runtime.dovetail.draft_blocks import DraftBlocks
from slipstream.runtime.dovetail.draft_file import DraftFile
from slipstream.runtime.models import Array, head_name
from slipstream.runtime.models.weights import Embedding, WeightLoader
from slipstream.runtime.speculation.timed_sequence import TimedSequence


class DovetailDraft:
    """A draft and the one sequence of rows that it holds.

    A row is a hidden state f at a position and the token after it; what comes out is a guess at
    the hidden state there, whose logits are of the token after that.

    sequence    : of those rows
    head_tokens : (N,) int32, ids of the tokens whose logits it gives
    """

    def __init__(
        self,
        file: DraftFile,
        target: ModelFile,
        backend: Backend,
        *,
        threads: int,
        num_tokens: int,
    ) -> None:
        """num_tokens : rows that its cache has room for

        Raises CheckpointError when the draft's tensors are not what its config says.
        """
        backend.ops.prepare({QuantType.Q8_0, QuantType.F32, _head_of(target).quant_type})
        embedding = Embedding(target.tensors["token_embd.weight"], backend)
        with backend.computing(threads):
            weights = WeightLoader(file, backend)
            head = _packed_head(target, file, backend)
            blocks = DraftBlocks(file.config, weights, embedding, head)
            weights.finish()
        self.head_tokens = file.head_tokens
        self.sequence = TimedSequence(blocks, backend, threads=threads, num_tokens=num_tokens)

    def feed(self, hidden: np.ndarray, tokens: Sequence[int]) -> tuple[Array, np.ndarray]:
        """Append rows; logits (1, N) after the last, on the draft's device, until the next call,
        and its hidden state (C,) in host memory.

        hidden : (M, C) float32; tokens : M
        """
        return self.sequence.feed(tokens, hidden), self.sequence.hidden()


def _head_of(target: ModelFile) -> Tensor:
    return target.tensors[head_name(target.tensors)]


def _packed_head(target: ModelFile, file: DraftFile, backend: Backend) -> object:
    """The rows of the target's head that the draft scores, in the bits that the target has."""
    head = _head_of(target)
    rows = np.ascontiguousarray(head.data[file.head_tokens])
    packed: object = backend.ops.pack_weight(rows, head.quant_type, file.config.hidden_size)
    return packed
