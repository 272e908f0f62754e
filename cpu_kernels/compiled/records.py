"""What a kernel is told: a record of addresses, sizes and numbers, 8 bytes each.

One layout for each kernel serves the op that fills it in, the kernel and its items: the shares of
its work that threads take (kernels/work_sharing.py). Arrays are C-contiguous; an address is 0 where
there is no array. ARCHITECTURE.md has the shape letters.
"""

import numpy as np


def _layout(words: str, floats: str = "") -> np.dtype:
    """int64 `words`, then float64 `floats`."""
    fields = [(name, np.int64) for name in words.split()]
    return np.dtype([*fields, *((name, np.float64) for name in floats.split())])


# Of `matmul`: x (M, C) or (M, 2 C), norm_weight (C,), bias (N,), out (M, N) float32;
# parts (num_parts, PART_WORDS) int64, see weight.py; packed, source (AS_IS ... GELU) and forms
# (QUANTISED, FLOAT): see packed_rows.py; zeros (16,) stand for a bias or rows that are not there.
MATMUL = _layout(
    "x num_rows columns source norm_weight forms packed parts num_parts num_threads bias zeros "
    "accumulate out out_columns",
    "eps",
)

# Of `attention`: q, out (M, H, D) float32; kv: see KV_LAYOUT; page_tables (S, P), past,
# num_new (S,), first_key (M,) int32; mask (M, R) bool, R is most_new.
ATTENTION = _layout(
    "q num_heads head_size kv page_tables num_sequences num_pages past num_new first_key mask "
    "most_new out",
    "scale",
)

# Of `rotate_and_store`: qkv (M, (H + 2 K) D), cos, sin (M, half), out (M, H, D), query_norm and
# key_norm (D,) float32; page_ids, offsets (M,) int32; half of the rotated dimensions; kv as above.
ROTATE_AND_STORE = _layout(
    "qkv num_rows num_heads cos sin half interleaved page_ids offsets query_norm key_norm kv out",
    "query_eps key_eps",
)

# Of `rms_norm`: x, out (M, C), weight (C,) float32.
RMS_NORM = _layout("x num_rows columns weight accumulate out", "eps")

# Of `blend_gated`: gate, a, out and b, if any, (M, C) float32.
BLEND_GATED = _layout("gate a b num_rows columns out")

# Of `top_k`: x (M, C), out (M, k) float32; ids (M, k) int32.
TOP_K = _layout("x num_rows columns k ids out")

# Of `repack`: raw (16 num_panels, row_bytes), panels (num_panels, panel_bytes) uint8.
REPACK = _layout("raw row_bytes panels num_panels panel_bytes panels_an_item")

# Of a TextTable: texts uint8, each with a separator after it, starts (num_texts + 1,) and slots
# (num_slots,) int32, a text's id plus one or 0; what its hash begins with and multiplies by.
TEXT_TABLE = _layout("texts starts num_texts slots num_slots seed factor")

# Of `build_table`: table, address of a TEXT_TABLE; stored (stored_bytes,) uint8, texts after their
# lengths as 8 bytes each; outcome (2,) int64, see text_table.py.
BUILD_TABLE = _layout("table stored stored_bytes outcome")

# Of `find_text`: table as above; text (num_bytes,) uint8; found (1,) int64, -1 for none.
FIND_TEXT = _layout("table text num_bytes found")

# Of `find_merged`: table and stored as above; tokens (num_merges,) int32, splits (num_merges,)
# int32: what a merge makes, -1 where it can't, and the bytes of its first part.
FIND_MERGED = _layout("table stored stored_bytes num_merges tokens splits")

# Of `merge_words`: table as above, longest of its texts; costs int32, by token, or of the entries
# first[token] .. first[token + 1] with their splits int32; byte_tokens (256,) int32 or 0; words
# uint8 with a separator after each, ends (num_words,) int64; workspace for the longest word of
# B bytes: sizes, before, merged (B,) int32, heap (2 B, 2) int64; tokens int32 and
# token_starts (num_words + 1,) int64, see merge_words.py.
MERGE_WORDS = _layout(
    "table longest first splits costs byte_tokens takes_whole_words words ends num_words sizes "
    "before merged heap tokens token_starts"
)

# Of a program: calls (num_calls, 2) int64, a kernel's address and its record's.
PROGRAM = _layout("calls num_calls")
