"""Ours, llama.cpp's and the exact logits of a catalogue model, compared on the parity texts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slipstream import LLM
from slipstream.runtime.options import Options
from support.exact_forward import exact_logits
from support.parity import Agreement, agreement, llama_cpp_logits, parity_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Three programs on one text of `tokens` tokens."""

    text: str
    tokens: int
    with_llama_cpp: Agreement  # llama.cpp wanted, ours got
    with_exact: Agreement  # exact wanted, ours got
    llama_cpp_with_exact: Agreement  # exact wanted, llama.cpp got

    @property
    def error_ratio(self) -> float:
        """Our divergence from the exact distribution, over llama.cpp's."""
        return self.with_exact.kl / self.llama_cpp_with_exact.kl


def compare(path: Path, text_names: tuple[str, ...]) -> Iterator[Comparison]:
    """One comparison for each text. Takes minutes and gigabytes for the larger models."""
    with LLM.open(path, Options(context=4096)) as llm:
        texts = [llm.tokenize(parity_text(name)) for name in text_names]
        theirs_of_all = llama_cpp_logits(path, texts)
        exact_of_all = exact_logits(path, texts)
        for name, ids, theirs, exact in zip(
            text_names, texts, theirs_of_all, exact_of_all, strict=True
        ):
            ours = llm.logits(ids)
            yield Comparison(
                text=name,
                tokens=len(ids),
                with_llama_cpp=agreement(theirs, ours, ids),
                with_exact=agreement(exact, ours, ids),
                llama_cpp_with_exact=agreement(exact, theirs, ids),
            )
