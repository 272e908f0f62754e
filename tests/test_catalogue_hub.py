"""Files from a model hub, each pull in its own process with HF_ENDPOINT at a stand-in."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slipstream.runtime.catalogue import list_local, models_folder, resolve
from slipstream.runtime.catalogue.download import pull
from support.hub_server import COMMIT, hub_server

CONTENT = random.Random(11).randbytes(5_000_000)
MODEL = "hf:org/repo:tiny.gguf"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stand-in with one file, and an environment that leads there."""
    with hub_server("org/repo", {"tiny.gguf": CONTENT}) as hub:
        for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf_home"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
        yield hub


def start_pull(model: str = MODEL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "support.pull_model", model],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pull_there(model: str = MODEL) -> dict[str, Any]:
    """Pull in another process; returns what support.pull_model prints."""
    process = start_pull(model)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return json.loads(output)


def refused(model: str = MODEL) -> str:
    """The message of a pull that must fail, and leave no file in the store."""
    result = pull_there(model)
    assert result["error"] == "DownloadError"
    assert list_local() == []
    return result["message"]


def test_a_file_is_pulled_verified_and_known_afterwards(hub):
    hub.card = {"license": "apache-2.0"}
    result = pull_there()
    path = models_folder() / "hf" / "org" / "repo" / "tiny.gguf"
    assert result["path"] == str(path)
    assert path.read_bytes() == CONTENT
    assert resolve(MODEL) == path
    (local,) = list_local()
    assert (local.name, local.licence, local.size_bytes) == (MODEL, "apache-2.0", len(CONTENT))
    record = json.loads(Path(f"{path}.json").read_text())
    assert record["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert record["commit"] == COMMIT
    assert not (Path(os.environ["HF_HOME"]) / "hub").exists()  # no second copy in the hub's cache
    assert pull(MODEL) == path  # in this process, which has no way to the stand-in
    assert len(hub.reads) == 1


def test_the_licence_is_told_before_the_file_is_read(hub):
    hub.card = {
        "license": "other",
        "license_name": "own-terms",
        "license_link": "https://x.example",
    }
    events = pull_there()["events"]
    assert events[0]["stage"] == "found"
    assert events[0]["licence"] == "own-terms"
    assert events[0]["licence_terms"] == "https://x.example"
    done = [event["done_bytes"] for event in events if event["stage"] == "downloading"]
    assert done == sorted(done)
    assert len(done) > 3
    assert done[-1] == len(CONTENT) == events[0]["total_bytes"]


def test_a_hub_that_tells_no_licence_still_serves_the_file(hub):
    result = pull_there()
    assert result["path"]
    assert result["events"][0]["licence"] == "not stated by the repository"


def test_an_interrupted_pull_is_resumed_where_it_stopped(hub):
    hub.stalls_at = 3_000_000
    process = start_pull()
    assert hub.stalled.wait(30)
    part = (
        models_folder()
        / f".partial/hf/org/repo/tiny.gguf/{hashlib.sha256(CONTENT).hexdigest()}.part"
    )
    while part.stat().st_size < 2 << 20:  # what the process has written of what it was sent
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert list_local() == []
    kept = part.stat().st_size
    assert pull_there()["path"]
    assert hub.reads[-1]["Range"] == f"bytes={kept}-"
    assert resolve(MODEL).read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_line_that_drops_is_picked_up_again(hub, ranges):
    hub.drops_at = [2_000_000, 4_000_000 if not ranges else 1_500_000]
    hub.ranges = ranges
    assert pull_there()["path"]
    assert resolve(MODEL).read_bytes() == CONTENT
    assert len(hub.reads) == 3


def test_a_line_that_only_drops_is_given_up_and_can_be_resumed(hub):
    hub.drops_at = [2_000_000, 0, 0, 0, 0]
    message = refused()
    assert message.startswith(f"{MODEL} could not be downloaded (")
    assert message.endswith("check the network, and pull again, which resumes.")
    assert pull_there()["path"]
    assert hub.reads[-1]["Range"] != "bytes=0-"


def test_content_that_does_not_match_its_hash_is_refused(hub):
    hub.etag = "0" * 64
    assert "is not the expected file and was deleted" in refused()


def test_a_file_without_a_hash_is_refused(hub):
    hub.etag = "a-tag-that-is-no-hash"
    assert "states no size and SHA-256" in refused()


def test_a_missing_file_is_said_with_those_that_are_there(hub):
    hub.card = {}
    message = refused("hf:org/repo:other.gguf")
    assert message == "org/repo has no file other.gguf; its GGUF files are tiny.gguf."


def test_a_missing_repository_is_said(hub):
    assert "no repository org/nothing" in refused("hf:org/nothing:tiny.gguf")


def test_a_name_that_the_hub_forbids_is_said(hub):
    assert "is not a name that the hub can have" in refused("hf:org/two--dashes:tiny.gguf")


def test_a_gated_file_needs_the_token(hub, monkeypatch):
    hub.token = "secret"
    assert "is gated: accept its terms" in refused()
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert pull_there()["path"]


def test_the_token_is_not_passed_on_to_another_host(hub, monkeypatch):
    hub.token = "secret"
    monkeypatch.setenv("HF_TOKEN", "secret")
    with hub_server("org/repo", {"tiny.gguf": CONTENT}) as storage:
        hub.storage_url = storage.url.replace("127.0.0.1", "localhost")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        assert pull_there()["path"]
    assert resolve(MODEL).read_bytes() == CONTENT
    (read,) = storage.reads
    assert "Authorization" not in read
    assert "Range" in read


def test_no_hub_is_said(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "check the network" in refused()


def test_offline_mode_is_said(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in refused()
