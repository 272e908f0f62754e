"""The folder of what is made or measured once on a machine and then kept."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """What `SLIPSTREAM_CACHE` names, else a folder in the user's own cache; it may not exist."""
    return Path(os.environ.get("SLIPSTREAM_CACHE") or platformdirs.user_cache_dir("slipstream"))
