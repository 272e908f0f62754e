"""`slipstream plan`: what running a model would take and bring, without loading it."""

from dataclasses import asdict
from typing import Any

import click

from slipstream.apps.cli.console import put, put_json, short_path
from slipstream.apps.cli.shared_options import json_option, load_options


@click.command("plan", short_help="Say how a model would run here, and why.")
@click.argument("model")
@load_options
@click.option(
    "--machine",
    metavar="NAME",
    help="Plan for another machine: gtx-1650, rtx-2060, rtx-3050-pcie3-x8, mx450-laptop, "
    "laptop-igpu or cpu-only.",
)
@json_option
def plan_command(model: str, load: dict[str, Any], machine: str | None, as_json: bool) -> None:
    """Say how MODEL would run here: memory, threads, context, speed, and why."""
    from slipstream.runtime.catalogue import resolve
    from slipstream.runtime.options import Options

    path = resolve(model)
    lines, plan = _made(str(path), Options(**load), machine)
    if as_json:
        put_json({"model": model, "path": str(path), **plan})
        return
    put("\n".join([f"{model} ({short_path(path)})", *lines]) + "\n")


def _made(path: str, options: Any, machine: str | None) -> tuple[list[str], dict[str, Any]]:
    """The plan as lines and as a mapping for JSON."""
    from slipstream.runtime.loading import plan_model, plan_model_on

    if machine is None:
        plan = plan_model(path, options)
        return plan.lines(), plan.as_dict()
    from slipstream.apps.cli.preset_table import preset_lines

    made = plan_model_on(path, options, machine)
    return [f"on {machine}", *preset_lines(made)], {"machine": machine, **asdict(made)}
