"""`slipstream list`: models that can be pulled and models that are here."""

from typing import Any

import click

from slipstream.apps.cli.console import put, put_json
from slipstream.apps.cli.shared_options import json_option
from slipstream.offload.table import aligned
from slipstream.offload.units import format_bytes


@click.command("list", short_help="Show models and whether they are here.")
@json_option
def list_command(as_json: bool) -> None:
    """Show the models there are, and which of them are on this machine."""
    models = known_models()
    if as_json:
        put_json({"models": models})
        return
    rows = [("MODEL", "HERE", "SIZE", "FORMAT", "LICENCE", "")]
    for model in models:
        rows.append(
            (
                model["name"],
                "yes" if model["local"] else "no",
                format_bytes(model["size_bytes"]),
                model["quantisation"] or "",
                model["licence"] or "unknown",
                model["description"] or "",
            )
        )
    put("\n".join(aligned(rows)) + "\n")


def known_models() -> list[dict[str, Any]]:
    """The catalogue, then what else is in the models folder."""
    from slipstream.runtime.catalogue import CATALOGUE, list_local

    local = {model.name: model for model in list_local()}
    listed = [
        {
            "name": entry.name,
            "local": entry.name in local,
            "path": str(local[entry.name].path) if entry.name in local else None,
            "size_bytes": entry.size_bytes,
            "quantisation": entry.quantisation,
            "chat": entry.chat,
            "licence": entry.licence,
            "description": entry.description,
        }
        for entry in CATALOGUE.values()
    ]
    others = [
        {
            "name": model.name,
            "local": True,
            "path": str(model.path),
            "size_bytes": model.size_bytes,
            "quantisation": None,
            "chat": None,
            "licence": model.licence,
            "description": None,
        }
        for model in local.values()
        if model.name not in CATALOGUE
    ]
    return [*listed, *others]
