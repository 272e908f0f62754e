"""Tokenizers of a few hundred tokens, as GGUF metadata: byte-level BPE and SentencePiece style."""

import gguf

CHATML_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_MERGES = [
    "t h", "th e", "i n", "e r", "a n", "an d", "o n", "Ġ the", "Ġ a", "Ġ and", "r e", "Ġ in",
    "o u", "Ġ o", "Ġo n", "in g", "e n", "Ġ w", "Ġw e", "l l", "o r",
]  # fmt: skip

# Longer pieces come first, and score higher, so that they win over their parts.
_SPM_PIECES = [
    "▁the", "▁and", "▁we", "▁in", "▁on", "ing", "and", "▁a", "▁t", "▁i", "▁w",
    "th", "he", "in", "an", "on", "er", "re", "ou", "ll", "or", "▁",
]  # fmt: skip


def add_bpe_vocabulary(writer: gguf.GGUFWriter, pre_tokenizer: str) -> int:
    """Add 256 byte tokens, merges and three special tokens; returns the vocabulary size."""
    tokens = list(_byte_characters().values())
    tokens += [merge.replace(" ", "") for merge in _MERGES]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    end_of_text = len(tokens)
    types = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(special)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(tokens + special)
    writer.add_token_types(types)
    writer.add_token_merges(_MERGES)
    writer.add_bos_token_id(end_of_text)
    writer.add_eos_token_id(end_of_text + 2)
    writer.add_pad_token_id(end_of_text)
    writer.add_add_bos_token(False)
    return len(types)


def add_spm_vocabulary(writer: gguf.GGUFWriter) -> int:
    """Add special tokens, 256 byte tokens and scored pieces; returns the vocabulary size."""
    special = ["<unk>", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>"]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = _SPM_PIECES + [chr(code) for code in range(0x21, 0x7F)]
    types = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * (len(special) - 1)
    types += [gguf.TokenType.BYTE] * len(byte_tokens) + [gguf.TokenType.NORMAL] * len(pieces)
    scores = [0.0] * (len(special) + len(byte_tokens)) + [-float(i) for i in range(len(pieces))]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(special + byte_tokens + pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(4)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    return len(types)


def _byte_characters() -> dict[int, str]:
    """The visible character that byte-level BPE writes for each byte (GPT-2's table)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    table = {byte: chr(byte) for byte in visible}
    table |= {byte: chr(256 + index) for index, byte in enumerate(hidden)}
    return dict(sorted(table.items()))
