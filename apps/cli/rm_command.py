"""`slipstream rm`: delete a pulled model."""

import click

from slipstream.apps.cli.console import put
from slipstream.offload.units import format_bytes


@click.command("rm", short_help="Delete a pulled model.")
@click.argument("model")
def rm_command(model: str) -> None:
    """Delete a model that was pulled, or what an interrupted pull left."""
    from slipstream.runtime.catalogue import remove

    removed = remove(model)
    put(f"removed {removed.name}, {format_bytes(removed.size_bytes)} freed\n")
