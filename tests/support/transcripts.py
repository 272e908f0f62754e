"""Greedy answers of the chat models, recorded: tests/golden/transcripts.json.

`python tests/support/transcripts.py [MODEL ...]` records ours for the catalogue models on this
machine and, with llama-cpp-python, how many of the first tokens llama.cpp chooses too.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from slipstream import LLM
from slipstream.runtime.catalogue import CATALOGUE

CHAT_MODELS = tuple(name for name, entry in CATALOGUE.items() if entry.chat)
PROMPTS = (
    "Why is the sky blue?",
    "Write a Python function that says whether a word is a palindrome.",
    "List the days of the week.",
)
MAX_TOKENS = 64
GOLDEN = Path(__file__).parents[1] / "golden" / "transcripts.json"


def _answers(model: str) -> Iterator[dict[str, Any]]:
    with LLM(model, context=1024) as llm:
        for prompt in PROMPTS:
            messages = [{"role": "user", "content": prompt}]
            ours = llm.chat(messages, temperature=0, max_tokens=MAX_TOKENS)
            theirs = _llama_cpp_answer(llm.path, llm.chat_tokens(messages))
            pairs = zip(ours.token_ids, theirs, strict=False)
            shared = next((i for i, (a, b) in enumerate(pairs) if a != b), len(ours.token_ids))
            yield {
                "prompt": prompt,
                "text": ours.text,
                "finish_reason": ours.finish_reason,
                "token_ids": ours.token_ids,
                "shared_with_llama_cpp": shared,
            }


def _llama_cpp_answer(path: Path, prompt: list[int]) -> list[int]:
    """llama.cpp's greedy continuation, past any end of turn."""
    import llama_cpp

    model = llama_cpp.Llama(str(path), n_ctx=1024, verbose=False)
    tokens = model.generate(prompt, temp=0.0, repeat_penalty=1.0, top_k=1)
    answer = [token for token, _ in zip(tokens, range(MAX_TOKENS), strict=False)]
    model.close()
    return answer


if __name__ == "__main__":
    record = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for name in sys.argv[1:] or CHAT_MODELS:
        record[name] = list(_answers(name))
    text = json.dumps({name: record[name] for name in CHAT_MODELS}, indent=1, ensure_ascii=False)
    GOLDEN.write_text(text + "\n", "utf-8")
