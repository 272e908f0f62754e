"""Roles that tokens have by their text: ending an answer, marking a gap to fill, and so on.

Files name few of these tokens and give some the wrong kind, so the well-known texts decide. The
tables are the ones llama.cpp goes by; tests compare the outcome with it.
"""

import enum
from collections.abc import Callable, Mapping
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from slipstream.cpu_kernels.compiled.text_table import TextTable


class TokenKind(enum.IntEnum):
    """Values of `tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3  # never part of the text
    USER_DEFINED = 4  # matched in any text before it is split into words
    UNUSED = 5
    BYTE = 6  # one byte of a character that has no token


END_TEXTS = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "[e~[",
)

# Fill-in-the-middle roles, and the texts that go for each where no key of the file names it.
FILL_TEXTS = {
    "fim_pre": (
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<\uff5cfim\u2581begin\uff5c>",
        "<PRE>",
        "\u2581<PRE>",
        "<|code_prefix|>",
        "<|prefix|>",
    ),
    "fim_suf": (
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<\uff5cfim\u2581hole\uff5c>",
        "<SUF>",
        "\u2581<SUF>",
        "<|code_suffix|>",
        "<|suffix|>",
    ),
    "fim_mid": (
        "<|fim_middle|>",
        "<fim-middle>",
        "<fim_middle>",
        "<\uff5cfim\u2581end\uff5c>",
        "<MID>",
        "\u2581<MID>",
        "<|code_middle|>",
        "<|middle|>",
    ),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
_FILL_END_ROLES = frozenset({"fim_pad", "fim_rep", "fim_sep"})
_OLD_KEYS = {"fim_pre": "prefix", "fim_suf": "suffix", "fim_mid": "middle"}

# These frame the parts of one answer, which readers want to see.
VISIBLE_TEXTS = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")


def assign_roles(
    texts: "TextTable", kinds: np.ndarray, role: Callable[[str], int | None]
) -> frozenset[int]:
    """The ids that end an answer; corrects `kinds` in place.

    texts, kinds : of all tokens, by id
    role         : the id that the file's metadata names for a role (eos, eot, fim_pad ...)
    """
    end_ids = {i for name in ("eos", "eot", "eom") if (i := role(name)) is not None}
    known = (*END_TEXTS, *VISIBLE_TEXTS, *chain(*FILL_TEXTS.values()), "<|plamo:eos|>")
    ids = {text: i for text in known if (i := texts.find(text)) is not None}
    for name, fill_texts in FILL_TEXTS.items():
        token_id = role(name)
        if token_id is None and name in _OLD_KEYS:
            token_id = role(_OLD_KEYS[name])
        if token_id is None:
            token_id = next((ids[text] for text in fill_texts if text in ids), None)
            if token_id is not None:
                kinds[token_id] = TokenKind.CONTROL
        if token_id is not None and name in _FILL_END_ROLES:
            end_ids.add(token_id)
    for text in END_TEXTS:
        if text in ids:
            end_ids.add(ids[text])
            kinds[ids[text]] = TokenKind.CONTROL
    for text in VISIBLE_TEXTS:
        if text in ids:
            kinds[ids[text]] = TokenKind.USER_DEFINED
    _drop_false_ends(ids, kinds, end_ids)
    return frozenset(end_ids)


def _drop_false_ends(ids: Mapping[str, int], kinds: np.ndarray, end_ids: set[int]) -> None:
    """Take out two texts that end an answer in most vocabularies, but not beside certain others."""

    def ends(*texts: str) -> bool:
        return any(ids.get(text) in end_ids for text in texts)

    # In these vocabularies <|end|> closes one message of several.
    in_messages = ends("<|call|>", "<|calls|>") and ends("<|return|>", "<|flush|>")
    if in_messages and ends("<|end|>"):
        end_ids.discard(ids["<|end|>"])
        kinds[ids["<|end|>"]] = TokenKind.USER_DEFINED
    if ends("<|tool_response>", "<|plamo:eos|>") and ends("</s>"):
        end_ids.discard(ids["</s>"])
        kinds[ids["</s>"]] = TokenKind.NORMAL
