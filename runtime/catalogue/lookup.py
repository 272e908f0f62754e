"""From what a user wrote for a model to the file on this machine."""

import os
from pathlib import Path

from slipstream.runtime.catalogue.names import looks_like_path, parse_name, unknown_name
from slipstream.runtime.catalogue.store import expected_bytes, list_local, path_of
from slipstream.runtime.errors import CatalogueError, OptionError


def resolve(model: str | os.PathLike[str]) -> Path:
    """The local file of a catalogue name, `hf:org/repo:file.gguf` or path; downloads nothing.

    A name wins over a file called the same in the current folder; write ./name for that one,
    or give a `Path`, which is never a name.
    Raises CatalogueError that says what to do when there is no such file here, and OptionError for
    what is neither a text nor a path.
    """
    if not isinstance(model, str | os.PathLike):
        raise OptionError(
            f"model: expected a name or a path, a str or a Path, got {type(model).__name__}"
        )
    text = os.fspath(model)
    name = parse_name(text) if isinstance(model, str) else None
    if name is None:
        return local_file(text)
    path = path_of(name)
    if not path.is_file():
        raise CatalogueError(
            f"{text} is not on this machine yet: run `slipstream pull {text}` to download it."
        )
    expected, found = expected_bytes(name), path.stat().st_size
    if expected is not None and expected != found:
        raise CatalogueError(
            f"{path} is damaged: it should have {expected:,} bytes and has {found:,}. "
            f"Run `slipstream pull {text}` to download it again."
        )
    return path


def local_file(text: str) -> Path:
    """The file at a path, or one that the user put into the models folder under that name."""
    # os.path answers False where pathlib raises: an unknown ~user, a name that is too long.
    path = os.path.expanduser(text)
    if os.path.isfile(path):
        return Path(path)
    if os.path.isdir(path) and looks_like_path(text):
        raise CatalogueError(f"{text} is a folder: give the path of a GGUF file in it.")
    for local in list_local():
        if local.name == text:
            return local.path
    if looks_like_path(text):
        raise CatalogueError(
            f"There is no file {text}: check the path, or write hf:org/repo:file.gguf for a file "
            "on the hub."
        )
    raise unknown_name(text)
