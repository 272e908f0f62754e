"""What a user may write for a model: a catalogue name, `hf:org/repo:file.gguf`, or a path."""

import re
from dataclasses import dataclass

from slipstream.runtime.catalogue.entries import CATALOGUE, CatalogueEntry
from slipstream.runtime.errors import CatalogueError

HUB_PREFIX = "hf:"
HUB_PATTERN = re.compile(
    r"hf:(?P<org>[\w.-]+)/(?P<repo>[\w.-]+):(?P<file>[^\\:*?\"<>|\x00-\x1f]+\.gguf)",
    re.ASCII,
)
SPLIT_PATTERN = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubName:
    """A file in a model repository on the Hugging Face hub."""

    org: str
    repo: str
    file: str  # path inside the repository, with forward slashes

    @property
    def repo_id(self) -> str:
        return f"{self.org}/{self.repo}"

    def __str__(self) -> str:
        return f"{HUB_PREFIX}{self.repo_id}:{self.file}"


def parse_hub_name(model: str) -> HubName:
    """Read `hf:org/repo:file.gguf`; raises CatalogueError when it is malformed.

    No part can lead out of a folder: the store makes a path from them.
    """
    match = HUB_PATTERN.fullmatch(model)
    if match is None:
        raise CatalogueError(
            f"{model!r} is not a hub name: expected hf:org/repo:file.gguf, "
            "for example hf:Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf."
        )
    name = HubName(**match.groupdict())
    pieces = (name.org, name.repo, *name.file.split("/"))
    if any(piece.strip(".") == "" for piece in pieces):
        raise CatalogueError(f"{model!r} is not a hub name: empty or dotted parts are not allowed.")
    if SPLIT_PATTERN.search(name.file):
        raise CatalogueError(
            f"{model} is one piece of a model split over several files, which Slipstream can't "
            "read: choose a single-file GGUF."
        )
    return name


def parse_name(model: str) -> CatalogueEntry | HubName | None:
    """What `model` names, or None when it is neither a catalogue nor a hub name."""
    if model in CATALOGUE:
        return CATALOGUE[model]
    return parse_hub_name(model) if model.startswith(HUB_PREFIX) else None


def looks_like_path(model: str) -> bool:
    """Whether a user who wrote `model` meant a file."""
    return model.startswith((".", "~")) or "/" in model or model.lower().endswith(".gguf")


def unknown_name(model: str) -> CatalogueError:
    """The error for a name that means nothing, with the nearest names that do."""
    import difflib  # late: only for an error

    near = difflib.get_close_matches(model.lower(), CATALOGUE, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known names: {', '.join(CATALOGUE)}."
    return CatalogueError(
        f"No model is called {model!r}; {hint} A path to a GGUF file or hf:org/repo:file.gguf "
        "works too."
    )
