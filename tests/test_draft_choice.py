"""Which model drafts, what that costs in memory, and which can't."""

import shutil
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
from test_planner import GB, MODEL, plan, with_ram

from slipstream.cpu_kernels import QuantType
from slipstream.offload.errors import PlanMemoryError
from slipstream.runtime.catalogue import CATALOGUE, store
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.draft_choice import chosen_draft
from slipstream.runtime.errors import CatalogueError, CheckpointError, OptionError
from slipstream.runtime.llm import LLM
from slipstream.runtime.options import Options
from support.tiny_gguf import write_tiny_model

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")
TARGET, DRAFT = "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder with tiny files in the places of two models of the catalogue."""
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path))
    folder = store.models_folder()
    folder.mkdir(parents=True)
    write_tiny_model(folder / f"{TARGET}.gguf", architecture="qwen2", quant_type=QuantType.F32)
    write_tiny_model(folder / f"{DRAFT}.gguf", architecture="qwen2", quant_type=QuantType.Q4_K)
    return folder


def decided(path: Path, **options: str) -> dict[str, tuple[str, str]]:
    with ModelFile.open(path) as file, chosen_draft(file, Options(**options)) as draft:
        return {each.what: (str(each.value), each.why) for each in draft.decisions}


def test_the_catalogue_s_pair_is_one_whose_tokens_are_known_to_be_the_same() -> None:
    assert CATALOGUE[TARGET].draft == DRAFT
    for entry in CATALOGUE.values():
        assert entry.draft is None or entry.draft in CATALOGUE


def test_auto_takes_the_catalogue_s_draft_where_it_is_here_and_small_enough(models: Path) -> None:
    target, draft = models / f"{TARGET}.gguf", models / f"{DRAFT}.gguf"
    found = decided(target, draft="auto")
    assert found["drafters"][0] == "ngram+recycling+model"
    assert found["draft"][0] == "tiny qwen2"
    assert DRAFT in found["draft"][1]
    shutil.copyfile(target, draft)
    assert "100% of its bytes" in decided(target, draft="auto")["draft"][1]
    draft.unlink()
    assert f"slipstream pull {DRAFT}" in decided(target, draft="auto")["draft"][1]
    mine = models / "mine.gguf"
    shutil.copyfile(target, mine)
    assert decided(mine, draft="auto")["draft"] == ("none", "the catalogue has none for this model")
    with pytest.raises(OptionError, match="draft model draws, but the catalogue has none"):
        decided(mine, draft="auto", acceptance="spectr")


def test_what_is_off_is_said(models: Path) -> None:
    target = models / f"{TARGET}.gguf"
    assert decided(target)["draft"] == ("none", "no draft was named")
    assert decided(target)["drafters"][0] == "ngram+recycling"
    assert decided(target, speculate="off") == {"drafters": ("off", "speculation is off")}
    assert decided(target, speculate="ngram")["drafters"][0] == "ngram"


def test_a_draft_that_is_not_here_or_damaged(models: Path, tmp_path: Path) -> None:
    target = models / f"{TARGET}.gguf"
    with pytest.raises(CatalogueError, match="no file"):
        LLM(target, draft=str(tmp_path / "none.gguf"))
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes((models / f"{DRAFT}.gguf").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"damaged\.gguf"):
        LLM(target, draft=str(damaged))


def with_tokens(
    source: Path, path: Path, change: dict[int, str], length: int | None = None
) -> None:
    """Write the vocabulary of a file again with other texts, or fewer of them."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "qwen2")
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    for token_id, text in change.items():
        tokens[token_id] = text
    kinds = reader.get_field("tokenizer.ggml.token_type").contents()
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        if name == "tokenizer.ggml.tokens":
            writer.add_token_list(tokens[:length])
        elif name == "tokenizer.ggml.token_type":
            writer.add_token_types(kinds[:length])
        elif field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(name, field.contents())
        else:
            value = field.contents()
            if name.endswith("token_id") and length is not None:
                value = min(value, length - 1)
            writer.add_key_value(name, value, field.types[0])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_draft_with_other_tokens_is_refused_and_the_first_is_named(
    models: Path, tmp_path: Path
) -> None:
    target, other = models / f"{TARGET}.gguf", tmp_path / "other.gguf"
    with_tokens(models / f"{DRAFT}.gguf", other, {40: "<mine>", 90: "<too>"})
    with pytest.raises(OptionError, match=r"token 40 is '<mine>' there and '.' in the model"):
        LLM(target, draft=str(other))


def test_a_vocabulary_may_begin_the_other(models: Path, tmp_path: Path) -> None:
    target, shorter = models / f"{TARGET}.gguf", tmp_path / "shorter.gguf"
    size = len(gguf.GGUFReader(target).get_field("tokenizer.ggml.tokens").contents())
    with_tokens(
        models / f"{DRAFT}.gguf", shorter, {}, length=size - 1
    )  # <|im_end|> is not in it, which ends texts here
    with LLM(target, speculate="off") as plain:
        want = plain.generate("the and", max_tokens=30, temperature=0)
    for one, two in ((target, shorter), (shorter, target)):
        with LLM(one, draft=str(two), speculate="model") as llm:
            got = llm.generate("the and", max_tokens=30, temperature=0)
            if one == target:
                assert got.token_ids == want.token_ids


def test_a_plan_counts_the_draft() -> None:
    draft = replace(MODEL, weights_bytes=GB // 2, kv_bytes_per_token=50_000)
    both = replace(MODEL, draft=draft)
    made = plan(both, context=1000)
    alone = plan(MODEL, context=1000)
    more = made.needed_bytes - alone.needed_bytes
    assert more == GB // 2 + draft.workspace_bytes + 1000 * 50_000
    assert any(line.startswith("draft's weights") for line in made.lines())
    tight = with_ram(int(3.2 * GB))
    assert plan(both, tight).context < plan(MODEL, tight).context
    with pytest.raises(PlanMemoryError, match=r"draft 550 MB, which may be left out"):
        plan(both, with_ram(int(2.2 * GB)), context=8000)
