"""Training on a tiny model: the network is the draft, loss falls, and what was stopped goes on."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipstream.apps.training.feature_store import FeatureStore
from slipstream.apps.training.pieces import frequent_tokens, read_pieces
from slipstream.apps.training.recipe import Recipe
from slipstream.cpu_kernels import QuantType
from slipstream.runtime.dovetail import DraftFile
from slipstream.runtime.errors import OptionError
from slipstream.runtime.llm import LLM
from support.exact_forward import exact_hidden
from support.tiny_draft import exact_draft, relative_error, write_tiny_draft
from support.tiny_gguf import write_tiny_model

pytestmark = pytest.mark.usefixtures("never_hangs", "roomy")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_tiny_model(path, architecture="llama", quant_type=QuantType.Q8_0)
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "text.txt"
    path.write_text("\x1e".join(f"the and on {n} we in the " * 12 for n in range(30)))
    return path


def trained(
    llm: LLM, text: Path, folder: Path, steps: int, stop_at: int | None = None
) -> tuple[Any, list[float]]:
    """Train for so many steps, or raise KeyboardInterrupt at one; the draft, and losses."""
    from slipstream.apps.training.train import train_draft

    losses: list[float] = []

    def progress(stage: str, done: int, total: int, more: str) -> None:
        if stage == "training":
            losses.append(float(more.removeprefix("loss ")))
            if done == stop_at:
                raise KeyboardInterrupt

    result = train_draft(
        llm,
        [text],
        folder,
        recipe=Recipe(
            window=64,
            head_tokens=10_000,  # all
            steps=steps,
            batch_tokens=256,
            learning_rate=3e-3,
            warm_up=4,
        ),
        command="a test",
        progress=progress,
    )
    return result, losses


def test_pieces_and_tokens(target: Path, text: Path, tmp_path: Path) -> None:
    with LLM(target, speculate="off") as llm:
        pieces = read_pieces([text], llm.tokenizer, 64)
        assert max(map(len, pieces)) == 64
        assert read_pieces([text], llm.tokenizer, 64) == pieces
        ids = frequent_tokens(pieces, 64, llm.config.vocab_size)
        assert len(set(ids.tolist())) == 64
        (most_common, _), *_ = Counter(token for piece in pieces for token in piece).most_common(1)
        assert most_common in ids
        (tmp_path / "short.txt").write_text("the")
        with pytest.raises(OptionError, match="at least 2 pieces"):
            read_pieces([tmp_path / "short.txt"], llm.tokenizer, 64)
        (tmp_path / "damaged.txt").write_bytes(b"\xff\xfe\xff")
        with pytest.raises(OptionError, match=r"damaged\.txt can't be read"):
            read_pieces([tmp_path / "damaged.txt", text], llm.tokenizer, 64)


def test_collecting_goes_on(target: Path, text: Path, tmp_path: Path) -> None:
    """Shards that are there are not computed again; one that was not finished is."""
    with LLM(target, speculate="off") as llm:
        pieces = read_pieces([text], llm.tokenizer, 64) * 2
        store = FeatureStore(tmp_path, pieces, "one")
        store.collect(llm.engine, lambda done, total: None)
        shards = sorted(store.folder.glob("*.npy"))
        assert len(shards) > 1
        first = shards[0].stat().st_mtime_ns
        whole = shards[1].read_bytes()
        shards[1].rename(shards[1].with_suffix(".part"))
        store.collect(llm.engine, lambda done, total: None)
        assert shards[0].stat().st_mtime_ns == first
        assert shards[1].read_bytes() == whole
        for piece, tokens in zip(store.load(), pieces, strict=True):
            assert piece.tokens.tolist() == tokens
            (want,) = exact_hidden(target, [tokens], kv_dtype=np.float16)
            # Rows are rounded to 8 bits on the way.
            assert relative_error(piece.hidden, want) < 0.15
        assert FeatureStore(tmp_path, pieces, "two").folder != store.folder


def test_the_network_is_the_draft(target: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from slipstream.apps.training.network import DraftNetwork

    config, arrays, _ = write_tiny_draft(tmp_path / "d.safetensors", target, blocks=2, window=100)
    network = DraftNetwork(config)
    network.load_state_dict(
        {name: torch.from_numpy(values.astype(np.float32)) for name, values in arrays.items()}
    )
    rng = np.random.default_rng(1)
    hidden, embedded = rng.normal(size=(2, 30, config.hidden_size)).astype(np.float32)
    with torch.no_grad():
        got = network(torch.from_numpy(hidden)[None], torch.from_numpy(embedded)[None])[0]
    want = exact_draft(config, arrays, hidden.astype(float), embedded.astype(float))
    assert relative_error(got.numpy(), want) < 1e-4


@pytest.fixture
def saves_often(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from slipstream.apps.training import optimisation

    monkeypatch.setattr(optimisation, "_SAVE_EVERY", 10)


@pytest.mark.usefixtures("saves_often")
def test_a_trained_draft_is_often_right_and_changes_nothing(
    target: Path, text: Path, tmp_path: Path
) -> None:
    with LLM(target, speculate="off") as plain:
        whole, losses = trained(plain, text, tmp_path, 30)
        assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
        assert whole.acceptance[0] > 0.2
        card = whole.path.with_suffix(".md").read_text()
        assert "tiny llama" in card
        assert "a test" in card
        asked = {"max_tokens": 20, "temperature": 0}
        want = plain.generate("the and on", **asked).token_ids
    with LLM(target, draft=str(whole.path), speculate="dovetail") as drafted:
        assert drafted.generate("the and on", **asked).token_ids == want


@pytest.mark.usefixtures("saves_often")
def test_training_goes_on_where_it_was_stopped(target: Path, text: Path, tmp_path: Path) -> None:
    with LLM(target, speculate="off") as llm:
        whole, losses = trained(llm, text, tmp_path / "a", 30)
        with pytest.raises(KeyboardInterrupt):
            trained(llm, text, tmp_path / "b", 30, stop_at=15)
        resumed, rest = trained(llm, text, tmp_path / "b", 30)
    assert len(rest) == 20  # from the last checkpoint on
    one, other = DraftFile.open(whole.path), DraftFile.open(resumed.path)
    assert one.tensors.keys() == other.tensors.keys()
    assert rest[-1] == pytest.approx(losses[-1], rel=1e-3)


@pytest.mark.usefixtures("saves_often")
def test_a_checkpoint_is_of_its_text_and_of_no_fewer_steps(
    target: Path, text: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(text.read_text() + "\x1e" + "the other text " * 60)
    with LLM(target, speculate="off") as llm:
        trained(llm, text, tmp_path, 10)
        _, losses = trained(llm, other, tmp_path, 3)
        assert len(losses) == 3  # from the start
        with pytest.raises(OptionError, match="done already"):
            trained(llm, text, tmp_path, 5)


@pytest.mark.usefixtures("saves_often")
def test_a_damaged_checkpoint_is_refused(target: Path, text: Path, tmp_path: Path) -> None:
    with LLM(target, speculate="off") as llm:
        trained(llm, text, tmp_path, 10)
        (checkpoint,) = tmp_path.glob("features-*/*.checkpoint.pt")
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
        with pytest.raises(OptionError, match="can't be resumed"):
            trained(llm, text, tmp_path, 11)


def test_a_folder_that_can_t_be_made(target: Path, text: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    file = tmp_path / "file"
    file.write_text("kept")
    with LLM(target, speculate="off") as llm, pytest.raises(OptionError, match="be made a folder"):
        trained(llm, text, file, 2)
    assert file.read_text() == "kept"


def test_text_that_only_repeats_itself(target: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    text = tmp_path / "text.txt"
    text.write_text("\x1e".join(["the and on we in the " * 12] * 3))
    with LLM(target, speculate="off") as llm, pytest.raises(OptionError, match="repeats itself"):
        trained(llm, text, tmp_path, 2)


def test_without_torch(target: Path, text: Path, tmp_path: Path) -> None:
    """One sentence that names the extra, before anything is read."""
    program = (
        "import importlib.util as u, sys\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from slipstream.__main__ import main\n"
        "sys.exit(main())\n"
    )
    arguments = ["train-draft", str(target), "--text", str(text), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert re.search(r"slipstream\[train\]", done.stderr)
    assert not (tmp_path / "out").exists()
