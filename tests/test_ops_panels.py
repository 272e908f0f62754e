"""Repacking loses nothing: panels, taken apart as the format says, give the file's values."""

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType
from slipstream.cpu_kernels.compiled.repack import panel_bytes, repack
from slipstream.cpu_kernels.panel_format import (
    BLOCK_COLUMNS,
    FLOAT_DTYPES,
    PANEL_FORMATS,
    PANEL_ROWS,
    PanelFormat,
)
from slipstream.cpu_kernels.reference.dequantize import dequantize
from support.random_blocks import random_rows

ROW_COUNTS = (1, 15, 16, 17, 33)


def unpack_planes(planes: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """planes (block bytes,) uint8 of one block: the codes, (16, 32) int."""
    codes = np.zeros((PANEL_ROWS, BLOCK_COLUMNS), int)
    at = shift = 0
    for width in widths:
        for group in range(8):
            vector, place = divmod(group, 8 // width)
            lanes = planes[at + 64 * vector : at + 64 * (vector + 1)].reshape(PANEL_ROWS, 4)
            bits = (lanes.astype(int) >> (place * width)) & ((1 << width) - 1)
            codes[:, 4 * group : 4 * group + 4] |= bits << shift
        at += 64 * width
        shift += width
    return codes


def scales_of(unit: np.ndarray, form: PanelFormat) -> tuple[np.ndarray, np.ndarray]:
    """Scale and minimum of each sub-block of a unit: (16, sub-blocks) float64 each."""

    def floats(at: int) -> np.ndarray:
        words = unit[at : at + 2 * PANEL_ROWS].view("<u2")
        if form.scale_dtype == "bf16":
            return (words.astype(np.uint32) << 16).view(np.float32).astype(np.float64)[:, None]
        return words.view("<f2").astype(np.float64)[:, None]

    def subs(at: int) -> np.ndarray:
        end = at + PANEL_ROWS * form.num_sub_blocks
        return unit[at:end].reshape(form.num_sub_blocks, PANEL_ROWS).T

    scale, minimum = floats(0), np.zeros((PANEL_ROWS, 1))
    if form.has_minimum:
        minimum = floats(2 * PANEL_ROWS)
    if form.sub_scale == "u4":
        packed = subs(form.sub_scales_at)
        return scale * (packed & 15), -minimum * (packed >> 4)
    if form.sub_scale is not None:
        sub_scales = subs(form.sub_scales_at)
        scale = scale * (sub_scales.view(np.int8) if form.sub_scale == "i8" else sub_scales)
        if form.has_minimum:
            minimum = -minimum * subs(form.sub_minimums_at)
    return scale, minimum


def decode_panel(panel: np.ndarray, quant_type: QuantType) -> np.ndarray:
    """The values of one panel, (16, columns) float64."""
    form = PANEL_FORMATS[quant_type]
    columns = []
    for unit in panel.reshape(-1, form.unit_bytes):
        scale, minimum = scales_of(unit, form)
        blocks = unit[form.planes_at :].reshape(form.blocks, form.block_bytes)
        codes = np.hstack([unpack_planes(block, form.planes) for block in blocks])
        if form.table is not None:
            codes = np.array(form.table)[codes]
        wide = form.unit_columns // scale.shape[1]
        columns.append(
            np.repeat(scale, wide, axis=1) * (codes - form.offset)
            + np.repeat(minimum, form.unit_columns // minimum.shape[1], axis=1)
        )
    return np.hstack(columns)


@pytest.mark.parametrize("quant_type", PANEL_FORMATS)
@pytest.mark.parametrize("rows", ROW_COUNTS)
def test_quantised_panels_hold_the_files_values(quant_type: QuantType, rows: int) -> None:
    columns = 3 * PANEL_FORMATS[quant_type].unit_columns
    raw = random_rows(quant_type, rows, columns, np.random.default_rng(rows))
    panels = repack(raw, quant_type, columns)
    values = np.vstack([decode_panel(panel, quant_type) for panel in panels])
    np.testing.assert_array_equal(values[:rows], dequantize(raw, quant_type, np.float64))


@pytest.mark.parametrize("quant_type", FLOAT_DTYPES)
@pytest.mark.parametrize("rows", ROW_COUNTS)
def test_float_panels_are_the_transposed_rows(quant_type: QuantType, rows: int) -> None:
    columns = 37
    raw = random_rows(quant_type, rows, columns, np.random.default_rng(rows))
    panels = repack(raw, quant_type, columns)
    words = panels.view(f"<u{quant_type.block_bytes}").reshape(-1, columns, PANEL_ROWS)
    by_row = np.ascontiguousarray(words.transpose(0, 2, 1)).reshape(-1, columns)
    np.testing.assert_array_equal(by_row[:rows].view(np.uint8), raw)
    assert not by_row[rows:].any()


@pytest.mark.parametrize("quant_type", QuantType)
def test_a_matrix_of_many_panels_is_repacked_panel_by_panel(quant_type: QuantType) -> None:
    """However the work is shared among threads, each panel is that of its 16 rows alone."""
    columns = 4 * quant_type.block_columns if quant_type.block_columns > 1 else 96
    rows = 16 * 3 * (1 + (1 << 20) // panel_bytes(quant_type, columns)) + 5
    few = random_rows(quant_type, 64, columns, np.random.default_rng(0))
    raw = few[np.arange(rows) * 7 % 64]
    read: list[int] = []
    panels = repack(raw, quant_type, columns, read.append)
    assert (len(read) > 1, sum(read)) == (True, raw[: rows // 16 * 16].nbytes)
    assert panels.shape == (-(-rows // 16), panel_bytes(quant_type, columns))
    assert panels.ctypes.data % 64 == 0
    for panel_id in (0, 1, len(panels) // 2, len(panels) - 2, len(panels) - 1):
        alone = repack(raw[16 * panel_id : 16 * panel_id + 16], quant_type, columns)
        np.testing.assert_array_equal(panels[panel_id], alone[0])


@pytest.mark.parametrize("exponent", [0, 1, 2, 127, 254])
def test_every_mxfp4_exponent_is_exact(exponent: int) -> None:
    raw = np.arange(17, dtype=np.uint8)[None] * 16
    raw[0, 0] = exponent
    value = decode_panel(repack(raw, QuantType.MXFP4, 32)[0], QuantType.MXFP4)[:1]
    np.testing.assert_array_equal(value, dequantize(raw, QuantType.MXFP4, np.float64))
