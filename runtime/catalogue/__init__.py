"""Model names, and the files they stand for: what can be pulled, what is here, where it lies.

Fetching (`download.pull`) and checking (`verification.is_intact`) are imported from their modules:
loading a model should not wait for what they need.
"""

from slipstream.runtime.catalogue.entries import CATALOGUE, DEFAULT_MODEL, CatalogueEntry
from slipstream.runtime.catalogue.lookup import resolve
from slipstream.runtime.catalogue.source import Progress, Stage
from slipstream.runtime.catalogue.store import LocalModel, list_local, models_folder, remove

__all__ = [
    "CATALOGUE",
    "DEFAULT_MODEL",
    "CatalogueEntry",
    "LocalModel",
    "Progress",
    "Stage",
    "list_local",
    "models_folder",
    "remove",
    "resolve",
]
