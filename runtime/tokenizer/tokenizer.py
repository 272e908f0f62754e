"""Text to token ids and back."""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from slipstream.runtime.backends import load_backend
from slipstream.runtime.checkpoint.typed_metadata import TypedMetadata
from slipstream.runtime.errors import CheckpointError, OptionError, UnsupportedError
from slipstream.runtime.tokenizer.pre_tokenizers import PRE_TOKENIZERS
from slipstream.runtime.tokenizer.score_merge import ScoreMergeEncoder
from slipstream.runtime.tokenizer.special_tokens import SpecialTokens
from slipstream.runtime.tokenizer.stream_decoder import StreamDecoder
from slipstream.runtime.tokenizer.token_roles import TokenKind
from slipstream.runtime.tokenizer.vocabulary import (
    Vocabulary,
    byte_value,
    read_numbers,
    read_texts,
    read_vocabulary,
)

_SURROGATES = re.compile("[\ud800-\udfff]")


class TextEncoder(Protocol):
    """Encodes text between special tokens, in one of the ways that files ask for.

    leading_space : " " or "", put before a text and before what follows a special token
    """

    leading_space: str

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""

    def text_bytes(self, token_text: str) -> bytes:
        """The bytes that a normal token stands for."""


class Tokenizer:
    """The tokenizer that a model file describes. Safe to share between threads.

    vocab_size : number of tokens; ids are below it
    bos_id     : begins a text
    eos_id     : ends a text
    end_ids    : every token that ends an answer
    adds_bos   : whether a text begins with bos_id
    """

    def __init__(
        self, vocabulary: Vocabulary, encoder: TextEncoder, *, adds_bos: bool, adds_eos: bool
    ) -> None:
        """Use `Tokenizer.from_metadata`."""
        self.vocab_size = len(vocabulary.texts)
        self.bos_id = vocabulary.bos_id
        self.eos_id = vocabulary.eos_id
        self.end_ids = vocabulary.end_ids
        self._vocabulary = vocabulary
        self._encoder = encoder
        self.adds_bos = adds_bos and vocabulary.bos_id is not None
        self._prefix = [vocabulary.bos_id] if adds_bos and vocabulary.bos_id is not None else []
        self._suffix = [vocabulary.eos_id] if adds_eos and vocabulary.eos_id is not None else []
        special = vocabulary.special_ids()
        self._all_special = SpecialTokens(special)
        # User-defined ones are looked for in any text, the others only on request.
        always = (vocabulary.kinds == TokenKind.USER_DEFINED).tolist()
        self._always_special = SpecialTokens({t: i for t, i in special.items() if always[i]})

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], *, path: str | Path = "tokenizer") -> Self:
        """The tokenizer of a model file, from its metadata; `path` names the file in errors.

        Raises UnsupportedError naming a tokenizer that is not implemented, CheckpointError for data
        that is missing or contradicts itself, and OptionError where no kernels can be had.
        """
        load_backend("numba")  # whichever computes the model, its kernels find and merge tokens
        fields = TypedMetadata(Path(path), metadata)
        model = fields.get_str("tokenizer.ggml.model")
        if model == "gpt2":
            return cls._with_merges(fields)
        if model == "llama":
            return cls._with_scores(fields)
        raise UnsupportedError(
            f"{path}: the tokenizer model {model[:40]!r} is not implemented; "
            "expected 'gpt2' (byte-level byte-pair encoding) or 'llama' (SentencePiece)"
        )

    @classmethod
    def _with_merges(cls, fields: TypedMetadata) -> Self:
        # The library that splits texts takes 4 MB, and vocabularies with scores do without it.
        from slipstream.runtime.tokenizer.byte_pair import BytePairEncoder

        name = fields.get_str("tokenizer.ggml.pre", "") or "default"
        if name not in PRE_TOKENIZERS:
            raise UnsupportedError(
                f"{fields.path}: the pre-tokenizer {name[:40]!r} is not implemented; "
                f"expected one of {', '.join(sorted(PRE_TOKENIZERS))}"
            )
        pre_tokenizer = PRE_TOKENIZERS[name]
        vocabulary = read_vocabulary(fields, {})
        merges = read_texts(fields, "tokenizer.ggml.merges")
        encoder = BytePairEncoder(vocabulary, merges, pre_tokenizer, fields.path)
        return cls._assembled(fields, vocabulary, encoder, adds_bos=pre_tokenizer.adds_bos)

    @classmethod
    def _with_scores(cls, fields: TypedMetadata) -> Self:
        vocabulary = read_vocabulary(fields, {"bos": 1, "eos": 2})
        key = "tokenizer.ggml.scores"
        scores = read_numbers(fields, key, "fi", len(vocabulary.texts))
        if not np.isfinite(scores).all():
            raise CheckpointError(f"{fields.path}: {key} holds values that are not numbers")
        leading_space = " " if fields.get_bool("tokenizer.ggml.add_space_prefix", True) else ""
        encoder = ScoreMergeEncoder(vocabulary, scores, leading_space)
        return cls._assembled(fields, vocabulary, encoder, adds_bos=True)

    @classmethod
    def _assembled(
        cls,
        fields: TypedMetadata,
        vocabulary: Vocabulary,
        encoder: TextEncoder,
        *,
        adds_bos: bool,
    ) -> Self:
        adds_bos = fields.get_bool("tokenizer.ggml.add_bos_token", adds_bos)
        adds_eos = fields.get_bool("tokenizer.ggml.add_eos_token", False)
        for adds, name, token_id in (
            (adds_bos, "bos", vocabulary.bos_id),
            (adds_eos, "eos", vocabulary.eos_id),
        ):
            if adds and token_id is None:
                raise CheckpointError(
                    f"{fields.path}: the {name} token is to be added to texts, but there is no "
                    f"tokenizer.ggml.{name}_token_id; the file is not a complete language model"
                )
        return cls(vocabulary, encoder, adds_bos=adds_bos, adds_eos=adds_eos)

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Token ids of a text.

        add_special   : put the tokens before and after it that the file asks for
        parse_special : take the text of a control token, like <|im_start|>, for that token; for
                        rendered chat templates
        A lone surrogate becomes U+FFFD: it is half a character, or a byte that was not UTF-8.
        Raises OptionError for what is no text.
        """
        if not isinstance(text, str):
            raise OptionError(f"text: expected a str, got {type(text).__name__}")
        text = _SURROGATES.sub("\ufffd", text)
        ids = [*self._prefix] if add_special else []
        special = self._all_special if parse_special else self._always_special
        pieces = special.split(text)
        lead = self._encoder.leading_space
        between = self._encoder.encode([lead + piece for piece in pieces if isinstance(piece, str)])
        encoded = iter(between)
        for piece in pieces:
            ids += [piece] if isinstance(piece, int) else next(encoded)
        return ids + self._suffix if add_special else ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of a whole sequence of tokens.

        The space that `encode` put before the text is taken off again. Bytes that are not UTF-8
        become U+FFFD. Raises OptionError for what is no sequence of tokens' ids.
        """
        if not isinstance(ids, Iterable) or isinstance(ids, str | bytes | bytearray):
            raise OptionError(f"ids: expected token ids, whole numbers, got {type(ids).__name__}")
        piece = self.token_bytes if skip_special else self._visible_bytes
        data = b"".join(map(piece, ids))
        return data.removeprefix(self._encoder.leading_space.encode()).decode(errors="replace")

    def stream(self) -> StreamDecoder:
        """A decoder for the tokens of an answer, which continues a text: no space is taken off."""
        return StreamDecoder(self.token_bytes)

    def token_bytes(self, token_id: int) -> bytes:
        """What a token adds to a text, perhaps part of a character; b"" for a control token.

        Raises OptionError for an id that is no token.
        """
        text, kind = self._token(token_id)
        if kind == TokenKind.NORMAL:
            return self._encoder.text_bytes(text)
        if kind == TokenKind.USER_DEFINED:
            return text.encode()
        value = byte_value(text) if kind == TokenKind.BYTE else None
        return b"" if value is None else bytes([value])

    def token_text(self, token_id: int) -> str:
        """A token as the vocabulary has it. Raises OptionError for an id that is no token."""
        return self._token(token_id)[0]

    def first_difference(self, other: "Tokenizer") -> int | None:
        """The first token, of those that both have, that is another in `other`; None without."""
        return self._vocabulary.texts.first_difference(other._vocabulary.texts)

    def _visible_bytes(self, token_id: int) -> bytes:
        """As `token_bytes`, and the text of a control or unknown token."""
        text, kind = self._token(token_id)
        if kind in (TokenKind.CONTROL, TokenKind.UNKNOWN):
            return text.encode()
        return self.token_bytes(token_id)

    def _token(self, token_id: int) -> tuple[str, int]:
        try:
            index = operator.index(token_id)
        except TypeError:
            raise OptionError(f"token id: expected a whole number, got {token_id!r}") from None
        if not 0 <= index < self.vocab_size:
            raise OptionError(
                f"{index} is not a token id: expected 0 to {self.vocab_size - 1} for this model"
            )
        return self._vocabulary.texts[index], self._vocabulary.kinds.item(index)
