"""Model names, and the files they stand for: what can be pulled, what is here, where it lies."""

from slipstream.runtime.catalogue.download import pull
from slipstream.runtime.catalogue.entries import CATALOGUE, DEFAULT_MODEL, CatalogueEntry
from slipstream.runtime.catalogue.lookup import resolve
from slipstream.runtime.catalogue.source import Progress, Stage
from slipstream.runtime.catalogue.store import LocalModel, list_local, models_folder, remove
from slipstream.runtime.catalogue.verification import is_intact

__all__ = [
    "CATALOGUE",
    "DEFAULT_MODEL",
    "CatalogueEntry",
    "LocalModel",
    "Progress",
    "Stage",
    "is_intact",
    "list_local",
    "models_folder",
    "pull",
    "remove",
    "resolve",
]
