"""`slipstream verify`: look for models that were damaged on the disk."""

import click

from slipstream.apps.cli.console import put


@click.command("verify", short_help="Check that pulled models are undamaged.")
@click.argument("models", nargs=-1, metavar="[MODEL...]")
@click.pass_context
def verify_command(context: click.Context, models: tuple[str, ...]) -> None:
    """Check that every byte of pulled MODELs, by default all, is as it was published.

    The exit code is 1 when one of them is damaged.
    """
    from slipstream.runtime.catalogue import list_local
    from slipstream.runtime.catalogue.verification import is_intact
    from slipstream.runtime.errors import CatalogueError

    here = {local.name: local for local in list_local()}
    for model in models:
        if model not in here:
            raise CatalogueError(f"{model!r} is not among the models that `slipstream list` has")
    damaged = False
    for model in models or here:
        intact = is_intact(here[model])
        if intact is None:
            put(f"{model}: unknown, nobody published its hash\n")
        elif intact:
            put(f"{model}: intact\n")
        else:
            damaged = True
            put(f"{model}: damaged; run `slipstream rm {model}` and pull it again\n")
    if damaged:
        context.exit(1)
