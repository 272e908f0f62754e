"""Matrix product of activations with a packed weight."""

import torch

from slipstream.cpu_kernels import RmsNorm
from slipstream.cpu_kernels.reference.matmul import check_source
from slipstream.gpu_kernels.launch_table import launch_shape
from slipstream.gpu_kernels.packed_rows import packed_rows
from slipstream.gpu_kernels.part_product import Target, multiply_part
from slipstream.gpu_kernels.tensors import expect_tensor
from slipstream.gpu_kernels.weight import Weight


def matmul(
    x: torch.Tensor,
    weight: Weight,
    *,
    norm: RmsNorm | None = None,
    activation: str | None = None,
    bias: torch.Tensor | None = None,
    accumulate: bool = False,
    out: torch.Tensor,
) -> torch.Tensor:
    """As `slipstream.cpu_kernels.reference.matmul`.

    Quantised weights meet activations rounded to int8, 32 columns a scale, as in the kernels of
    the CPU, so that the devices agree within float32 rounding. Row m of a product with them is
    bit-identical whatever M is.
    """
    check_source(norm, activation)
    num_rows, columns = x.shape[0], weight.columns
    expect_tensor("x", x, torch.float32, (num_rows, 2 * columns if activation else columns))
    expect_tensor("out", out, torch.float32, (num_rows, weight.rows))
    if norm is not None:
        expect_tensor("norm", norm.weight, torch.float32, (columns,))
    if bias is not None:
        expect_tensor("bias", bias, torch.float32, (weight.rows,))
    if num_rows == 0:
        return out
    packed = packed_rows(x, weight, norm, activation)
    first_column = 0
    for part in weight.parts:
        target = Target(out=out, first_column=first_column, bias=bias, accumulate=accumulate)
        shape = launch_shape(part.quant_type, num_rows, part.rows, columns)
        multiply_part(packed, part, columns, target, shape)
        first_column += part.rows
    return out
