"""Small vocabularies as the metadata of a model file."""

from pathlib import Path

import gguf
import numpy as np

from slipstream.runtime.tokenizer.token_roles import TokenKind
from support.tiny_vocabulary import CHATML_TEMPLATE

_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
BYTE_TOKENS = [
    chr(byte) if byte in _VISIBLE else chr(256 + _HIDDEN.index(byte)) for byte in range(256)
]


def byte_pair_metadata(
    merges: list[str] | None = None,
    special: dict[str, TokenKind] | None = None,
    **changes: object,
) -> dict[str, object]:
    """Byte-level BPE: 256 bytes, then what the merges make, then the special tokens.

    changes : metadata after `tokenizer.ggml.`; None removes the key
    """
    merges, special = merges or [], special or {}
    tokens = [*BYTE_TOKENS, *(merge.replace(" ", "") for merge in merges), *special]
    kinds = [TokenKind.NORMAL] * (len(tokens) - len(special)) + list(special.values())
    values = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": np.array(kinds, np.int32),
        "merges": merges,
    }
    return _metadata(values | changes)


def score_metadata(
    pieces: dict[str, float],
    special: dict[str, TokenKind] | None = None,
    **changes: object,
) -> dict[str, object]:
    """SentencePiece style: <unk>, <s>, </s>, 256 bytes, the pieces with their scores, the special
    tokens."""
    special = special or {}
    head = {"<unk>": TokenKind.UNKNOWN, "<s>": TokenKind.CONTROL, "</s>": TokenKind.CONTROL}
    byte_tokens = dict.fromkeys((f"<0x{byte:02X}>" for byte in range(256)), TokenKind.BYTE)
    kinds = head | byte_tokens | dict.fromkeys(pieces, TokenKind.NORMAL) | special
    values = {
        "model": "llama",
        "tokens": list(kinds),
        "token_type": np.array(list(kinds.values()), np.int32),
        "scores": np.array([pieces.get(text, 0.0) for text in kinds], np.float32),
        "add_space_prefix": False,
        "add_bos_token": False,
    }
    return _metadata(values | changes)


def _metadata(values: dict[str, object]) -> dict[str, object]:
    metadata = {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    metadata["tokenizer.chat_template"] = CHATML_TEMPLATE
    return {key: value for key, value in metadata.items() if value is not None}


def write_vocabulary(path: Path, metadata: dict[str, object]) -> None:
    """Write a model file with this metadata and no tensors, for llama.cpp to read."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in metadata.items():
        if isinstance(value, np.ndarray):
            writer.add_array(key, value.tolist())
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_string(key, str(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
