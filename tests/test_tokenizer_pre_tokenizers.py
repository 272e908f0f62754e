"""How each family of byte-level vocabularies splits text into words."""

# ruff: noqa: RUF001

import pytest

from slipstream.runtime.tokenizer.pre_tokenizers import PRE_TOKENIZERS
from slipstream.runtime.tokenizer.word_splitter import WordSplitter

SPLITS = {
    "gpt-2": [
        ("it's I'LL 1234 ab!?\n\n x", "it|'s| I|'|LL| 1234| ab|!?|\n\n| x"),
        ("a  b   \t", "a| | b|   \t"),
    ],
    "smollm": [("ab 12 x3", "ab| |1|2| x|3"), ("don't\tGo", "don|'t|\t|Go")],
    "llama-bpe": [
        ("I'LL 1234567 (ok)\n\n  x", "I|'LL| |123|456|7| (|ok|)\n\n| | x"),
        ("ſ'ſ $x\t\ty", "ſ|'ſ| $|x|\t|\ty"),
    ],
    "qwen2": [("1234 a.b\r\n!\n", "1|2|3|4| a|.b|\r\n|!\n")],
    "qwen35": [("नमस्ते é 12", "नमस्ते| é| |1|2")],
    "minicpm5": [("a 12345 I'm!\n", "a| |123|45| I|'m|!\n")],
    "default": [("a<b 12345 don't", "a|<|b| |123|45| don|'|t")],
    "falcon": [("x=`1234` a", "x|=`|123|4|`| a")],
    "deepseek-llm": [("Ab日本語12\n.x ", "Ab|日本語|12|\n|.|x| ")],
    "deepseek-coder": [("Ab 12;\n日本", "Ab| |1|2|;|\n|日本")],
    "deepseek-v3": [("x.foo 12345 東京タ!\n", "x|.foo| |123|45| |東京タ|!\n")],
    "bloom": [("a.b c,d(e", "a|.|b| c|,|d|(|e")],
    "viking": [("ab12. c", "ab|1|2|.| c")],
    "bailingmoe": [("a\n\n b \nc", "a|\n\n| b| \n|c")],
    "seed-coder": [("x!\n\ny", "x|!|\n\n|y")],
    "ufakzeka": [("Ankara'da it's", "Ankara|'da| it|'s")],
    "tekken": [("HelloWorld ПриветМир a/\n12", "Hello|World| Привет|Мир| a|/\n|1|2")],
    "gpt-4o": [("XMLHttp's 1234 don'T नमस्ते", "XMLHttp's| |123|4| don'T| नमस्ते")],
}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [(name, text, words) for name, cases in SPLITS.items() for text, words in cases],
)
def test_splits(name: str, text: str, words: str) -> None:
    splitter = WordSplitter(PRE_TOKENIZERS[name].patterns)
    assert splitter.split(text) == words.split("|")
