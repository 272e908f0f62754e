"""Pulls the model named on the command line; prints one JSON object with all that came of it."""

import dataclasses
import json
import sys
from typing import Any

from slipstream.runtime.catalogue import Progress
from slipstream.runtime.catalogue.download import pull
from slipstream.runtime.errors import CatalogueError

if __name__ == "__main__":
    events: list[Progress] = []
    result: dict[str, Any] = {"path": None, "error": None, "message": None}
    try:
        result["path"] = str(pull(sys.argv[1], progress=events.append))
    except CatalogueError as error:
        result |= {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(result | {"events": [dataclasses.asdict(event) for event in events]}))
