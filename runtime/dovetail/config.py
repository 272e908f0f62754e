"""The numbers of a Dovetail draft, and whose draft it is."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from slipstream.cpu_kernels import QuantType
from slipstream.cpu_kernels.reference.dequantize import dequantize
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import CheckpointError, OptionError, UnsupportedError
from slipstream.runtime.models import ModelConfig
from slipstream.runtime.models.rope import RopeScaling

FORMAT = "slipstream-dovetail-1"
BLOCK_COLUMNS = QuantType.Q8_0.block_columns
_LARGEST = 1 << 24
_LONGEST_NAME = 200  # characters, of a target


@dataclass(frozen=True, slots=True, kw_only=True)
class DovetailConfig:
    """Sizes in elements, lengths in tokens.

    target      : name of the model that it drafts for
    fingerprint : of that model, see `fingerprint_of`
    window      : tokens that a row of the draft sees, itself included; it was trained with no more
    """

    target: str
    fingerprint: str
    vocab_size: int
    hidden_size: int
    feed_forward_size: int
    num_blocks: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    window: int
    rms_eps: float
    rope_base: float

    @classmethod
    def for_target(cls, file: ModelFile, target: ModelConfig, blocks: int, window: int) -> Self:
        """A draft with the target's own sizes. Raises UnsupportedError where none is possible."""
        if target.hidden_size % BLOCK_COLUMNS or target.feed_forward_size % BLOCK_COLUMNS:
            raise UnsupportedError(
                f"{file.path}: a Dovetail draft needs hidden and feed-forward sizes of a multiple "
                f"of {BLOCK_COLUMNS}, got {target.hidden_size} and {target.feed_forward_size}"
            )
        return cls(
            target="".join(filter(str.isprintable, target.name))[:_LONGEST_NAME],
            fingerprint=fingerprint_of(file),
            vocab_size=target.vocab_size,
            hidden_size=target.hidden_size,
            feed_forward_size=target.feed_forward_size,
            num_blocks=blocks,
            num_heads=target.num_heads,
            num_kv_heads=target.num_kv_heads,
            head_size=target.head_size,
            window=window,
            rms_eps=target.rms_eps,
            rope_base=target.rope_base,
        )

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str] | None, path: Path) -> Self:
        """As `to_metadata` wrote it. Raises CheckpointError for anything else."""
        found = (metadata or {}).get("format", "none")
        if metadata is None or found != FORMAT:
            raise CheckpointError(
                f"{path} is not a Dovetail draft: expected the format {FORMAT!r}, got "
                f"{found[:_LONGEST_NAME]!r}; name a file made by `slipstream train-draft`"
            )
        try:
            values = json.loads(metadata["config"])
            kinds = {field.name: field.type for field in fields(cls)}
            if set(values) != set(kinds):
                raise ValueError(f"keys {sorted(values)}")
            for name, kind in kinds.items():
                if type(values[name]) is not kind:
                    raise ValueError(f"{name} = {values[name]!r}")
                if kind is int and not 0 < values[name] < _LARGEST:
                    raise ValueError(f"{name} = {values[name]!r}")
            if (
                values["num_heads"] % values["num_kv_heads"]
                or not 1 < values["rope_base"] < math.inf
            ):
                raise ValueError("heads or rope_base")
            if len(values["target"]) > _LONGEST_NAME or not values["target"].isprintable():
                raise ValueError("target")
            if values["head_size"] % 2 or not 0 <= values["rms_eps"] < 1:
                raise ValueError("head_size or rms_eps")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{path}: the draft's config is damaged ({str(error)[:_LONGEST_NAME]}); fetch or "
                "train it again"
            ) from None
        return cls(**values)

    def to_metadata(self) -> dict[str, str]:
        """For the file's header."""
        return {"format": FORMAT, "config": json.dumps(asdict(self))}

    def check_target(self, file: ModelFile, target: ModelConfig, path: Path) -> None:
        """Raise OptionError unless the draft in `path` is of this very target."""
        own = (self.hidden_size, self.vocab_size, self.fingerprint)
        if own != (target.hidden_size, target.vocab_size, fingerprint_of(file)):
            raise OptionError(
                f"draft: {path.name} was trained for {self.target} (hidden size "
                f"{self.hidden_size}, {self.vocab_size} tokens), not for {target.name} (hidden "
                f"size {target.hidden_size}, {target.vocab_size} tokens); train one for it with "
                "`slipstream train-draft`"
            )

    def blocks(self) -> ModelConfig:
        """The blocks as a model of their own."""
        return ModelConfig(
            architecture="dovetail",
            name=f"Dovetail draft of {self.target}",
            context_length=_LARGEST,
            vocab_size=self.vocab_size,
            num_layers=self.num_blocks,
            hidden_size=self.hidden_size,
            feed_forward_size=self.feed_forward_size,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            head_size=self.head_size,
            rms_eps=self.rms_eps,
            rope_base=self.rope_base,
            rope_dimensions=self.head_size,
            rope_scaling=RopeScaling(),
            sliding_window=self.window,
        )


def fingerprint_of(file: ModelFile) -> str:
    """The same for all quantisations of a model: a hash of its final norm, which none rounds.

    Raises CheckpointError for a model without one.
    """
    norm = file.tensors.get("output_norm.weight")
    if norm is None:
        raise CheckpointError(f"{file.path}: the tensor output_norm.weight is missing")
    values = dequantize(norm.data, norm.quant_type)
    return hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()[:32]
