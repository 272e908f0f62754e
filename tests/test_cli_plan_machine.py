"""`slipstream plan --machine`, and the options of GPU memory."""

import json
import re
from pathlib import Path

import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.offload.machine_presets import PRESETS
from slipstream.offload.units import format_bytes, parse_bytes
from support.command_line import call
from support.tiny_draft import write_tiny_draft
from support.tiny_gguf import tiny_shape, write_tiny_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A model and one that drafts for it."""
    folder = tmp_path_factory.mktemp("models")
    for name, num_layers in (("target", 6), ("draft", 1)):
        shape = tiny_shape("qwen2", num_layers=num_layers)
        write_tiny_model(
            folder / f"{name}.gguf", architecture="qwen2", quant_type=QuantType.Q4_K, shape=shape
        )
    return str(folder / "target.gguf"), str(folder / "draft.gguf")


@pytest.mark.parametrize("name", PRESETS)
def test_every_machine_has_a_plan(
    capsys: pytest.CaptureFixture[str], models: tuple[str, str], name: str
) -> None:
    target, draft = models
    told = call(capsys, "plan", target, "--draft", draft, "--machine", name)
    assert told.code == 0
    for line in (f"on {name}", "layers on the GPU", "simulated:", "plan", "tok/s"):
        assert line in told.out
    made = json.loads(call(capsys, "plan", target, "--machine", name, "--json").out)
    placement = made["placement"]
    assert made["machine"] == name
    assert placement["chosen"]["vram_bytes"] <= placement["vram_limit_bytes"]
    assert len(placement["chosen"]["placement"]["layers_on_gpu"]) == 6


@pytest.mark.parametrize("name", PRESETS)
def test_a_dovetail_draft_is_planned_for_too(
    capsys: pytest.CaptureFixture[str], models: tuple[str, str], tmp_path: Path, name: str
) -> None:
    target, draft = Path(models[0]), tmp_path / "draft.safetensors"
    write_tiny_draft(draft, target, blocks=1)
    given = ("plan", str(target), "--draft", str(draft), "--machine", name)
    told = call(capsys, *given)
    assert told.code == 0
    assert re.search("^draft +CPU +none", told.out, re.MULTILINE)  # the GPU would start too slowly
    chosen = json.loads(call(capsys, *given, "--json").out)["placement"]["chosen"]
    without = json.loads(call(capsys, *given[:2], *given[4:], "--json").out)["placement"]["chosen"]
    assert chosen["ram_bytes"] > without["ram_bytes"]
    assert chosen["s_per_token"] < without["s_per_token"]


def test_vram_caps_the_plan_for_a_machine(
    capsys: pytest.CaptureFixture[str], models: tuple[str, str]
) -> None:
    told = call(capsys, "plan", models[0], "--machine", "gtx-1650", "--vram", "450MB", "--json")
    assert json.loads(told.out)["placement"]["vram_limit_bytes"] == 450_000_000
    told = call(capsys, "plan", models[0], "--machine", "gtx-1650", "--vram", "9GB")
    assert told.code != 0
    assert "vram_bytes must be between 0 and 4,294,967,296" in told.err


def test_a_machine_that_is_not_known(
    capsys: pytest.CaptureFixture[str], models: tuple[str, str]
) -> None:
    told = call(capsys, "plan", models[0], "--machine", "cray-1")
    assert told.code != 0
    assert "No machine is called 'cray-1'; known are" in told.err


@pytest.mark.parametrize("option", [("--threads", "2"), ("--strict",)])
def test_what_means_nothing_there_is_refused(
    capsys: pytest.CaptureFixture[str], models: tuple[str, str], option: tuple[str, ...]
) -> None:
    told = call(capsys, "plan", models[0], "--machine", "gtx-1650", *option)
    assert told.code != 0
    assert f"{option[0].removeprefix('--')}: " in told.err
    assert "leave it out" in told.err


def test_the_help_names_every_machine(capsys: pytest.CaptureFixture[str]) -> None:
    told = " ".join(call(capsys, "plan", "--help").out.split())
    for name in PRESETS:
        assert name in told.replace("- ", "-")


@pytest.mark.usefixtures("roomy")
def test_vram_on_a_machine_without_a_gpu_is_one_sentence(
    capsys: pytest.CaptureFixture[str], models: tuple[str, str]
) -> None:
    told = call(capsys, "plan", models[0], "--vram", "3GB")
    assert told.code != 0
    assert "vram_bytes: the GPU can't be used: no GPU was found" in told.err


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("3GB", 3 * 10**9), ("512 mb", 512 * 10**6), ("1.5GiB", 3 * 2**29), ("0", 0), ("7k", 7000)],
)
def test_sizes_are_read(text: str, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes
    assert parse_bytes(format_bytes(num_bytes)) == pytest.approx(num_bytes, rel=0.01)


@pytest.mark.parametrize("text", ["", "GB", "3 apples", "-1GB", "1e9", "3GBB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as 3GB"):
        parse_bytes(text)
