r"""How byte-level vocabularies split a text into words, by the name in `tokenizer.ggml.pre`.

Each name has a list of patterns applied one after the other, each to the pieces that the one
before left: every match and every stretch between matches is a piece. Source: the pre-tokenizer
sections of the models' published tokenizer.json files, as far as llama.cpp follows them too.

llama.cpp departs from them where its regular expressions can't follow, and here they are as
published: `tekken` and `gpt-4o` (it knows case for ASCII only, and takes combining marks for
symbols), `deepseek-llm` and `deepseek-coder` (it leaves Unicode spaces out of wide ranges).
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PreTokenizer:
    """How one family of models splits text.

    patterns      : regular expressions as WordSplitter takes them
    ignore_merges : a word that is a token is that token, whatever its merges would give
    adds_bos      : a beginning-of-text token is added where the file does not say
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    adds_bos: bool = False


def _ranges(listing: str) -> str:
    """Hexadecimal code points and ranges of them, as the inside of a character class."""
    return re.sub(r"[0-9A-F]+", lambda match: chr(int(match[0], 16)), listing).replace(" ", "")


# Spelt out because (?i) would also take the long s of old prints for an s.
_CONTRACTIONS = r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"

_GPT2 = r"'(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_SYMBOLS}|{_SPACES}"
_QWEN2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_SYMBOLS}|{_SPACES}"
_QWEN35 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)
_MINICPM5 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}+|{_SYMBOLS}|{_SPACES}"
_UFAKZEKA = rf"[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_SYMBOLS}|{_SPACES}"
_SEED_CODER = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}"
)
_BAILING = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_SYMBOLS}"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
_BLOOM = r" ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"

# Words that may start in upper case and end in lower case; marks and caseless letters are both.
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED_WORD, _UPPER_WORD = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+",
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*",
)
_SYMBOLS_OR_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_TEKKEN = rf"{_CASED_WORD}|{_UPPER_WORD}|\p{{N}}|{_SYMBOLS_OR_SLASH}|{_SPACES}"
_GPT4O = (
    rf"{_CASED_WORD}(?:{_CONTRACTIONS})?|{_UPPER_WORD}(?:{_CONTRACTIONS})?|\p{{N}}{{1,3}}"
    rf"|{_SYMBOLS_OR_SLASH}|{_SPACES}"
)

_CHINESE_TO_HANGUL = r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_CHINESE_AND_KANA = r"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_DEEPSEEK_3 = (
    r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    rf"|{_SPACES}"
)
# Letters with an upper or a lower case.
_DEEPSEEK_LETTERS = _ranges(
    "41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 "
    "388-38A 38C 38E-3A1 3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA "
    "1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 "
    "1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB "
    "1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D "
    "212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 "
    "A640-A66D A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A "
    "FF41-FF5A 10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF "
    "1E900-1E943"
)
_DEEPSEEK_SIGNS = r"[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]"

_FAMILIES = {
    "default": PreTokenizer(patterns=(r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    "gpt-2 phi-2 mpt olmo jais gigachat a.x-4.0 mellum modern-bert exaone4 trillion "
    "granite-docling": PreTokenizer(patterns=(_GPT2,)),
    "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2": PreTokenizer(
        patterns=(r"\p{N}", _GPT2)
    ),
    "falcon": PreTokenizer(patterns=(r"[\p{P}$+<=>^~|`]+", _GPT2, "[0-9][0-9][0-9]")),
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2": PreTokenizer(
        patterns=(_LLAMA3,), ignore_merges=True, adds_bos=True
    ),
    "dbrx smaug-bpe chatglm-bpe": PreTokenizer(patterns=(_LLAMA3,)),
    "glm4 glm5": PreTokenizer(patterns=(_LLAMA3,), ignore_merges=True),
    "qwen2 stablelm2 deepseek-r1-qwen megrez hunyuan solar-open grok-2 kormo f2llmv2": (
        PreTokenizer(patterns=(_QWEN2,))
    ),
    "qwen35": PreTokenizer(patterns=(_QWEN35,)),
    "minicpm5": PreTokenizer(patterns=(r"\p{N}{1,3}", _MINICPM5), ignore_merges=True),
    "ufakzeka": PreTokenizer(patterns=(_UFAKZEKA,)),
    "seed-coder": PreTokenizer(patterns=(_SEED_CODER,)),
    "bailingmoe bailingmoe2 llada-moe": PreTokenizer(patterns=(_BAILING,)),
    "bloom poro-chat gpt3-finnish": PreTokenizer(patterns=(_BLOOM,)),
    "viking": PreTokenizer(patterns=(_BLOOM, r"\p{N}")),
    "tekken": PreTokenizer(patterns=(_TEKKEN,), ignore_merges=True, adds_bos=True),
    "gpt-4o llama4 kanana2 minimax-m2": PreTokenizer(patterns=(_GPT4O,)),
    "deepseek-llm": PreTokenizer(
        patterns=(
            r"[\r\n]",
            rf"\s?[{_DEEPSEEK_LETTERS}]+",
            rf"\s?{_DEEPSEEK_SIGNS}+",
            r"(?<!\s)\s++\Z",  # published without (?<!\s): quadratic in a run of spaces
            _CHINESE_TO_HANGUL,
            r"\p{N}+",
        )
    ),
    "deepseek-coder": PreTokenizer(
        patterns=(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CHINESE_TO_HANGUL, r"\p{N}")
    ),
    "deepseek-v3 hunyuan-dense hy_v4 joyai-llm": PreTokenizer(
        patterns=(r"\p{N}{1,3}", _CHINESE_AND_KANA, _DEEPSEEK_3)
    ),
}

PRE_TOKENIZERS = {name: family for names, family in _FAMILIES.items() for name in names.split()}
"""The pre-tokenizers by the names that files use."""
