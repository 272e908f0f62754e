"""Which launch shape a product takes: the fastest that was measured on this GPU, or the default.

Measured shapes are kept as JSON beside the compiled kernels, {GPU: {case: shape}}. They are read
once; choosing one never waits for the device.
"""

import json
import logging
import zlib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
import triton

from slipstream.cpu_kernels import QuantType
from slipstream.cpu_kernels.cache_folder import cache_folder
from slipstream.cpu_kernels.panel_format import FLOAT_DTYPES
from slipstream.cpu_kernels.whole_file import write_whole
from slipstream.gpu_kernels.device import compute_device
from slipstream.gpu_kernels.kernels import matmul as kernels
from slipstream.gpu_kernels.launch_shapes import (
    ROW_LIMITS,
    LaunchShape,
    default_shape,
    float_shapes,
    plane_shapes,
)

log = logging.getLogger(__name__)

# Products up to these sizes share a shape, as up to `ROW_LIMITS`; one more class has no limit.
WEIGHT_ROW_LIMITS = (2048, 8192)
COLUMN_LIMITS = (6144,)


@cache
def launch_shape(
    quant_type: QuantType, num_rows: int, weight_rows: int, columns: int
) -> LaunchShape:
    """The shape for a product of `num_rows` rows, at least one, with a matrix."""
    shapes = candidate_shapes(quant_type, num_rows)
    measured = _measured().get(case_name(quant_type, num_rows, weight_rows, columns))
    for shape in shapes:
        if asdict(shape) == measured:
            return shape
    return default_shape(shapes, num_rows)


def candidate_shapes(quant_type: QuantType, num_rows: int) -> tuple[LaunchShape, ...]:
    """The shapes that a product may take."""
    return float_shapes(num_rows) if quant_type in FLOAT_DTYPES else plane_shapes(num_rows)


def case_name(quant_type: QuantType, num_rows: int, weight_rows: int, columns: int) -> str:
    """What products that share a shape have in common."""
    sizes = (
        _limit(num_rows, ROW_LIMITS),
        _limit(weight_rows, WEIGHT_ROW_LIMITS),
        _limit(columns, COLUMN_LIMITS),
    )
    return ", ".join((quant_type.name, *sizes))


def remember(shapes: Mapping[str, LaunchShape]) -> None:
    """Take these shapes for their cases from now on, also in later processes.

    A file that can't be written is told in the log and no error: the shapes serve this process.
    """
    measured, file = _measured(), table_file()
    measured.update({name: asdict(shape) for name, shape in shapes.items()})
    launch_shape.cache_clear()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(_load(file) | {gpu_identity(): measured}, indent=1))
    except OSError as error:
        log.info("the measured launch shapes are not remembered: %s", error)


def table_file() -> Path:
    """Where measured shapes are kept: beside the compiled kernels."""
    return cache_folder() / "gpu_launches.json"


@cache
def gpu_identity() -> str:
    """What a measured shape holds for: the GPU, and what its kernels were made from."""
    text = Path(kernels.__file__).read_bytes()
    return f"{_gpu_name()}, Triton {triton.__version__}, kernels {zlib.crc32(text):08x}"


@cache
def _measured() -> dict[str, Any]:
    """The shapes of this GPU by case, as the file has them: they may be damaged or outdated."""
    measured = _load(table_file()).get(gpu_identity())
    return measured if isinstance(measured, dict) else {}


def _load(file: Path) -> dict[str, Any]:
    """What the file holds; nothing where there is none or it is damaged."""
    try:
        tables = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.info("no launch shapes are known, because %s can't be read: %s", file, error)
        return {}
    return tables if isinstance(tables, dict) else {}


def _gpu_name() -> str:
    device = compute_device()
    return "interpreter" if device.type == "cpu" else torch.cuda.get_device_name(device)


def _limit(size: int, limits: tuple[int, ...]) -> str:
    """The class of a size: the first limit that it is within."""
    place = bisect_left(limits, size)
    return str(limits[place]) if place < len(limits) else "more"
