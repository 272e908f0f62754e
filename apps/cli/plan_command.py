"""`slipstream plan`: what running a model would take and bring, without loading it."""

from typing import Any

import click

from slipstream.apps.cli.console import put, put_json, short_path
from slipstream.apps.cli.shared_options import json_option, load_options


@click.command("plan", short_help="Say how a model would run here, and why.")
@click.argument("model")
@load_options
@json_option
def plan_command(model: str, load: dict[str, Any], as_json: bool) -> None:
    """Say how MODEL would run here: memory, threads, context, speed, and why."""
    from slipstream.runtime.catalogue import resolve
    from slipstream.runtime.loading import plan_model
    from slipstream.runtime.options import Options

    path = resolve(model)
    plan = plan_model(path, Options(**load))
    if as_json:
        put_json({"model": model, "path": str(path), **plan.as_dict()})
        return
    put("\n".join([f"{model} ({short_path(path)})", *plan.lines()]) + "\n")
