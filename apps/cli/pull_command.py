"""`slipstream pull`: download models."""

import click

from slipstream.apps.cli.console import put
from slipstream.offload.units import format_bytes


@click.command("pull", short_help="Download models.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
def pull_command(models: tuple[str, ...]) -> None:
    """Download models that `slipstream list` shows, or hf:org/repo:file.gguf.

    An interrupted pull is resumed by the next one.
    """
    from slipstream.apps.cli.loading import pull_model

    for model in models:
        path = pull_model(model)
        put(f"{model} is here ({format_bytes(path.stat().st_size)})\n")
