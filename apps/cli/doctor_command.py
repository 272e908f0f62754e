"""`slipstream doctor`: what this machine and this installation are, for a bug report."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from slipstream.apps.cli.console import put, put_json, short_path
from slipstream.apps.cli.shared_options import json_option
from slipstream.offload.table import aligned
from slipstream.offload.units import format_bytes


@click.command("doctor", short_help="Examine this machine and this installation.")
@click.option(
    "--profile",
    "measure",
    is_flag=True,
    help="Measure what products, attention and copies take here, show it and keep it. With a GPU "
    "also choose how its kernels are launched: some minutes.",
)
@json_option
def doctor_command(measure: bool, as_json: bool) -> None:
    """Examine this machine and this installation; measures the memory's read bandwidth."""
    from slipstream.apps.cli.diagnosis import diagnose, find_profile
    from slipstream.apps.cli.profile_table import profile_lines
    from slipstream.apps.cli.progress import LoadProgress

    with LoadProgress() as progress:
        found = find_profile(measure=measure, progress=progress)
    diagnosis = diagnose(found)
    if as_json:
        put_json(diagnosis)
        return
    rows = [
        *machine_rows(diagnosis["machine"]),
        *gpu_rows(diagnosis["machine"]["gpus"], found.gpu_problem),
        profile_row(diagnosis["profile"]),
        kernels_row(diagnosis["kernels"]),
        models_row(diagnosis["models"]),
        *software_rows(diagnosis),
    ]
    lines = aligned(rows)
    if measure and found.profile is not None:
        lines += ["", *profile_lines(found.profile)]
    put("\n".join(lines) + "\n")


def machine_rows(machine: dict[str, Any]) -> list[tuple[str, str]]:
    cores = f"{machine['physical_cores']} physical, {machine['logical_cores']} logical"
    if machine["efficiency_cores"]:
        cores += f", {machine['efficiency_cores']} of them efficiency cores"
    if machine["usable_logical_cores"] != machine["logical_cores"]:
        cores += f"; this process may use {machine['usable_logical_cores']} logical ones"
    total, available = machine["ram_total_bytes"], machine["ram_available_bytes"]
    speed, threads = machine["read_gb_per_s"], machine["default_threads"]
    return [
        ("processor", machine["cpu_name"]),
        ("cores", cores),
        ("threads", f"{threads}: {machine['default_threads_why']}"),
        ("instructions", ", ".join(machine["instruction_sets"]) or "none that kernels here use"),
        ("RAM", f"{format_bytes(total)}, {format_bytes(available)} available"),
        ("read bandwidth", f"{speed:.1f} GB/s with {threads} threads, measured now"),
    ]


def gpu_rows(gpus: list[dict[str, Any]], problem: str | None) -> list[tuple[str, str]]:
    """A row for each GPU; `problem` is why no kernels can run there, None where they can."""
    use = "used where asked for (--vram)" if problem is None else f"not used: {problem}"
    rows = []
    for gpu in gpus:
        memory = gpu["vram_total_bytes"]
        size = f", {format_bytes(memory)}" if memory is not None else ""
        rows.append(("GPU", f"{gpu['name']}{size}; {use}"))
    return rows or [("GPU", "none found")]


def profile_row(profile: dict[str, Any]) -> tuple[str, str]:
    if profile["problem"] is not None:
        return ("profile", f"none, and none can be measured: {profile['problem']}")
    figures = profile["figures"]
    if figures is None:
        text = "none kept; `slipstream doctor --profile` measures one"
    else:
        measured_at = datetime.fromisoformat(figures["measured_at"])
        text = f"measured {measured_at:%Y-%m-%d %H:%M} UTC with {figures['threads']} threads"
    if profile["gpu_problem"] is not None:
        text += f" (CPU only: {profile['gpu_problem']})"
    return ("profile", text)


def software_rows(diagnosis: dict[str, Any]) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in diagnosis["versions"].items())
    extras = [
        f"{name} ({', '.join(f'{package} {version}' for package, version in packages.items())})"
        for name, packages in diagnosis["extras"].items()
        if all(packages.values())
    ]
    return [
        ("versions", f"{versions}; {diagnosis['system']}"),
        ("extras", ", ".join(extras) or "none installed"),
    ]


def kernels_row(kernels: dict[str, Any]) -> tuple[str, str]:
    if kernels["instruction_set"] is None:
        return ("kernels", f"unusable: {kernels['problem']}")
    text = f"compiled for {kernels['instruction_set']}"
    if kernels["folder"] is None:
        return ("kernels", f"{text}; {kernels['problem']}, since they can't be kept")
    kept = short_path(Path(kernels["folder"]))
    return ("kernels", f"{text}, kept in {kept} ({format_bytes(kernels['bytes'])})")


def models_row(models: dict[str, Any]) -> tuple[str, str]:
    text = f"{models['num_models']} in {short_path(Path(models['folder']))}"
    if models["num_models"]:
        text += f" ({format_bytes(models['bytes'])})"
    if models["problem"] is not None:
        text += f"; it can't be written: {models['problem']}"
    return ("models", text)
