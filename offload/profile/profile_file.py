"""The file in which profiles are kept, one for each hardware that used this cache folder."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slipstream.cpu_kernels.whole_file import write_whole
from slipstream.offload import bandwidth
from slipstream.offload.profile.curve import Curve
from slipstream.offload.profile.machine_profile import MachineProfile
from slipstream.offload.profile.measured_costs import (
    DIRECTIONS,
    HOST_MEMORIES,
    MeasuredAttention,
    MeasuredDeviceCosts,
    MeasuredLinkCosts,
    MeasuredProduct,
)

log = logging.getLogger(__name__)

MOST_KEPT = 16  # the latest ones: upgrades would leave ever more behind


def default_file() -> Path:
    """Where profiles are kept: beside the measured bandwidths."""
    return bandwidth.cache_file().with_name("profile.json")


def load_profiles(file: Path) -> dict[str, MachineProfile]:
    """The profiles in a file by hardware key; damaged ones, or a damaged file, are left out."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.info("measuring again, because %s can't be read: %s", file, error)
        return {}
    profiles: dict[str, MachineProfile] = {}
    for key, stored in kept.items() if isinstance(kept, dict) else ():
        try:
            profiles[key] = read_profile(stored)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            log.info("measuring again, because a profile in %s is damaged: %r", file, error)
    return profiles


def save_profiles(file: Path, profiles: Mapping[str, MachineProfile]) -> None:
    """Replace the file by the latest profiles; one that can't be written is only told."""
    latest = sorted(profiles.items(), key=lambda each: each[1].measured_at)[-MOST_KEPT:]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps({key: asdict(profile) for key, profile in latest}, indent=1))
    except OSError as error:
        log.info("the measured profile is not remembered: %s", error)


def read_profile(stored: Any) -> MachineProfile:
    """A profile from what `asdict` made of it.

    Raises KeyError, TypeError, ValueError, AttributeError or OverflowError for anything else.
    """
    gpu, link, problem = stored["gpu"], stored["link"], stored["gpu_problem"]
    return MachineProfile(
        measured_at=str(stored["measured_at"]),
        threads=int(stored["threads"]),
        cpu=_read_device(stored["cpu"]),
        gpu=None if gpu is None else _read_device(gpu),
        link=None if link is None else _read_link(link),
        gpu_problem=None if problem is None else str(problem),
    )


def _read_device(stored: Any) -> MeasuredDeviceCosts:
    products, attention = stored["products"], stored["attention"]
    return MeasuredDeviceCosts(
        products={
            str(name): MeasuredProduct(
                seconds_per_byte=_read_curve(product["seconds_per_byte"]),
                bytes_per_weight=float(product["bytes_per_weight"]),
            )
            for name, product in products.items()
        },
        attention=MeasuredAttention(
            rows=tuple(map(int, attention["rows"])),
            by_keys=tuple(map(_read_curve, attention["by_keys"])),
            kv_bytes_per_token=int(attention["kv_bytes_per_token"]),
            multiply_adds=int(attention["multiply_adds"]),
        ),
        op_overhead_s=float(stored["op_overhead_s"]),
    )


def _read_link(stored: Any) -> MeasuredLinkCosts:
    copies = stored["copies"]
    return MeasuredLinkCosts(
        copies={
            direction: {memory: _read_curve(copies[direction][memory]) for memory in HOST_MEMORIES}
            for direction in DIRECTIONS
        }
    )


def _read_curve(stored: Any) -> Curve:
    return Curve(tuple(map(int, stored["points"])), tuple(map(float, stored["values"])))
