"""Tells whether a model file still is what was pulled."""

import hashlib

from slipstream.runtime.catalogue.entries import CATALOGUE
from slipstream.runtime.catalogue.store import LocalModel, read_record


def is_intact(model: LocalModel) -> bool | None:
    """Whether the file's SHA-256 is what it was published with; None when nobody told that.

    Reads the whole file.
    """
    entry = CATALOGUE.get(model.name)
    expected = read_record(model.path).get("sha256") if entry is None else entry.sha256
    if expected is None:
        return None
    with model.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == expected
