"""Weights from the CPU's panels are those that the GPU makes of the file."""

import numpy as np
import pytest

from slipstream.cpu_kernels import QuantType, compiled
from support.random_blocks import random_rows

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("rows", [1, 16, 35])
@pytest.mark.parametrize("num_units", [1, 5])
@pytest.mark.parametrize("quant_type", QuantType)
def test_panels_have_the_bits_of_the_file(quant_type: QuantType, num_units: int, rows: int) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("triton")
    from slipstream import gpu_kernels
    from slipstream.gpu_kernels.panels import part_of_panels

    compiled.prepare({quant_type})
    columns = num_units * max(32, quant_type.block_columns)
    raw = random_rows(quant_type, rows, columns, np.random.default_rng(rows))
    (want,) = gpu_kernels.pack_weight(raw, quant_type, columns).parts
    (host,) = compiled.pack_weight(raw, quant_type, columns).parts
    panels = gpu_kernels.from_host(host.panels)
    got = part_of_panels(panels, quant_type, rows, columns)
    if hasattr(want, "numbers"):
        assert torch.equal(got.numbers.view(torch.int8), want.numbers.view(torch.int8))
        assert got.numbers.shape == want.numbers.shape
        assert got.numbers.is_contiguous()
        return
    assert len(got.planes.tensors) == len(want.planes.tensors)
    for mine, theirs in zip(got.planes.tensors, want.planes.tensors, strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        assert mine.is_contiguous()
        assert torch.equal(mine.view(torch.uint8), theirs.view(torch.uint8))
