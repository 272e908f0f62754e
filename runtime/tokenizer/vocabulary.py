"""The vocabulary of a model file: the text, the kind and the role of every token."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slipstream.cpu_kernels.errors import ShapeError
from slipstream.runtime.checkpoint.string_array import StringArray
from slipstream.runtime.checkpoint.typed_metadata import TypedMetadata
from slipstream.runtime.errors import CheckpointError
from slipstream.runtime.tokenizer.token_roles import TokenKind, assign_roles

if TYPE_CHECKING:
    from slipstream.cpu_kernels.compiled.text_table import TextTable

_BYTE_TEXT = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What the file says about its tokens.

    texts   : text of each token as stored, by id, and the ids by text
    kinds   : (len(texts),) int8, TokenKind of each token
    end_ids : every token that ends an answer
    """

    texts: "TextTable"
    kinds: np.ndarray[Any, np.dtype[np.int8]]
    bos_id: int | None
    eos_id: int | None
    unknown_id: int | None
    end_ids: frozenset[int]

    def special_ids(self) -> dict[str, int]:
        """Control, unknown and user-defined tokens, by their text."""
        special = (TokenKind.CONTROL, TokenKind.UNKNOWN, TokenKind.USER_DEFINED)
        return {self.texts[i]: i for i in np.flatnonzero(np.isin(self.kinds, special)).tolist()}


def byte_value(token_text: str) -> int | None:
    """The byte that a token like <0x0A> stands for."""
    match = _BYTE_TEXT.fullmatch(token_text)
    return int(match[1], 16) if match else None


def read_vocabulary(fields: TypedMetadata, default_ids: Mapping[str, int]) -> Vocabulary:
    """Read and check the tokens.

    default_ids : ids of the roles bos and eos for files that do not name them
    Raises CheckpointError for tokens that are missing, not text, or there twice, kinds that do not
    match them in number, and ids that are out of range.
    """
    texts = _read_token_texts(fields)
    kinds = _read_kinds(fields, texts)

    def role(name: str) -> int | None:
        default = default_ids.get(name)
        if default is not None and default >= len(texts):
            default = None
        return fields.get_int(f"tokenizer.ggml.{name}_token_id", default, maximum=len(texts) - 1)

    eos_id = role("eos")
    end_ids = assign_roles(texts, kinds, role)
    return Vocabulary(
        texts=texts,
        kinds=kinds,
        bos_id=role("bos"),
        eos_id=eos_id,
        unknown_id=role("unknown"),
        end_ids=end_ids,
    )


def _read_token_texts(fields: TypedMetadata) -> "TextTable":
    texts = read_texts(fields, "tokenizer.ggml.tokens")
    table = _table_of(fields, texts)
    if table.find("") is not None:
        table = _table_of(fields, [text or f"[EMPTY_{i}]" for i, text in enumerate(texts)])
    if not len(table):
        raise CheckpointError(f"{fields.path}: the vocabulary is empty; the file is damaged")
    if table.duplicate is not None:
        raise CheckpointError(
            f"{fields.path}: the vocabulary holds the token {table[table.duplicate][:40]!r} twice; "
            "the file is damaged"
        )
    return table


def _table_of(fields: TypedMetadata, texts: Sequence[str]) -> "TextTable":
    """Raises CheckpointError for texts that are not UTF-8 or can't be told apart."""
    from slipstream.cpu_kernels.compiled.text_table import TextTable

    try:
        table = TextTable(stored_texts(texts), len(texts))
    except ShapeError as error:
        raise CheckpointError(
            f"{fields.path}: the tokens can't be used: {error}; the file is damaged"
        ) from None
    if not table.is_utf8():
        list(texts)  # names the one that is not
    return table


def _read_kinds(fields: TypedMetadata, texts: "TextTable") -> np.ndarray[Any, np.dtype[np.int8]]:
    key = "tokenizer.ggml.token_type"
    if key not in fields.metadata:
        return np.full(len(texts), TokenKind.NORMAL, np.int8)
    numbers = read_numbers(fields, key, "iu", len(texts))
    if numbers.min() < 0 or numbers.max() > max(TokenKind):
        raise CheckpointError(
            f"{fields.path}: {key} should hold numbers from 0 to {max(TokenKind)}, "
            f"got {numbers.min()} to {numbers.max()}; the file is damaged"
        )
    for token_id in np.flatnonzero(numbers == TokenKind.BYTE).tolist():
        if byte_value(texts[token_id]) is None:
            raise CheckpointError(
                f"{fields.path}: token {token_id} stands for a byte, so its text should be like "
                f"<0x0A>, got {texts[token_id][:40]!r}; the file is damaged"
            )
    return numbers.astype(np.int8)


def read_texts(fields: TypedMetadata, key: str) -> Sequence[str]:
    """A required list of texts. Raises CheckpointError when it is anything else."""
    value = fields.metadata.get(key)
    if isinstance(value, StringArray):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        texts = list(value)
        if set(map(type, texts)) <= {str}:
            return texts
    found = "nothing" if value is None else type(value).__name__
    raise CheckpointError(
        f"{fields.path}: metadata key {key!r} should be a list of texts, got {found}; "
        "the file is not a complete language model"
    )


def stored_texts(texts: Sequence[str]) -> np.ndarray:
    """The texts as a file has them: each after its length in bytes as 64 bits."""
    if isinstance(texts, StringArray):
        return texts.stored
    data = (text.encode(errors="replace") for text in texts)
    stored = b"".join(len(text).to_bytes(8, "little") + text for text in data)
    return np.frombuffer(stored, np.uint8)


def read_numbers(
    fields: TypedMetadata, key: str, dtype_kinds: str, count: int
) -> np.ndarray[Any, np.dtype[np.number[Any]]]:
    """A required list of `count` numbers of one of the NumPy dtype kinds.

    Raises CheckpointError when it is anything else.
    """
    value = fields.metadata.get(key)
    if isinstance(value, np.ndarray) and value.dtype.kind in dtype_kinds and value.ndim == 1:
        if value.size == count:
            return value
        found = f"{value.size} numbers"
    else:
        found = "nothing" if value is None else f"another type ({type(value).__name__})"
    raise CheckpointError(
        f"{fields.path}: metadata key {key!r} should hold {count} numbers, one a token, "
        f"got {found}; the file is damaged"
    )
