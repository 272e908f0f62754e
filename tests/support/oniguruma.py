"""Splitting by the `tokenizers` library, whose regular expressions are Oniguruma's: a reference."""

import re

from tokenizers import Regex
from tokenizers.pre_tokenizers import Sequence, Split

# Code points first assigned in Unicode 16, which the library knows.
_UNICODE_16 = re.sub(
    r"[0-9A-F]+",
    r"\\x{\g<0>}",
    "897 1B4E 1B4F 1B7F 1C89 1C8A 2427-2429 31E4 31E5 A7CB-A7CD A7DA-A7DC 105C0-105F3 10D40-10D8F "
    "10EC2-10EFC 11380-113E2 116D0-116E3 11BC0-11BF9 11F5A 13460-143FA 16100-16139 16D40-16D79 "
    "18CFF 1CC00-1CEB3 1E5D0-1E5FF 1F8B2-1F8C1 1FA89-1FA8F 1FABE 1FAC6 1FADC-1FADF 1FAE9 "
    "1FBCB-1FBEF",
).replace(" ", "")


def splitter(patterns: tuple[str, ...]) -> Sequence:
    """Patterns of a pre-tokenizer, applied one after the other."""
    return Sequence([Split(Regex(_translated(pattern)), "isolated") for pattern in patterns])


def _translated(pattern: str) -> str:
    """A pattern of Python's `re` for Oniguruma, with the classes of Unicode 15.1."""
    pattern = pattern.replace(r"(?<!\s)\s++\Z", r"\s+\z")
    pattern = re.sub(r"\\u(\w{4})", r"\\x{\1}", pattern)
    return re.sub(r"\\p\{\w+\}", lambda match: rf"[{match[0]}&&[^{_UNICODE_16}]]", pattern)
