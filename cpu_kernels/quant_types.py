"""The storage types of weights in GGUF files, and how many bytes each takes."""

import enum

from slipstream.cpu_kernels.errors import ShapeError


class QuantType(enum.Enum):
    """A ggml tensor type. Its value is the id that GGUF files store.

    A row is stored in blocks: `block_columns` neighbouring values share `block_bytes` bytes. The
    layout of those bytes is written in `slipstream.cpu_kernels.reference.dequantize`.
    """

    # (ggml id, block_columns, block_bytes)
    F32 = (0, 1, 4)
    F16 = (1, 1, 2)
    Q4_0 = (2, 32, 18)
    Q4_1 = (3, 32, 20)
    Q5_0 = (6, 32, 22)
    Q5_1 = (7, 32, 24)
    Q8_0 = (8, 32, 34)
    Q2_K = (10, 256, 84)
    Q3_K = (11, 256, 110)
    Q4_K = (12, 256, 144)
    Q5_K = (13, 256, 176)
    Q6_K = (14, 256, 210)
    IQ4_NL = (20, 32, 18)
    IQ4_XS = (23, 256, 136)
    BF16 = (30, 1, 2)
    MXFP4 = (39, 32, 17)

    block_columns: int
    block_bytes: int

    def __new__(cls, ggml_id: int, block_columns: int, block_bytes: int) -> "QuantType":
        member = object.__new__(cls)
        member._value_ = ggml_id
        member.block_columns = block_columns
        member.block_bytes = block_bytes
        return member

    @classmethod
    def from_id(cls, ggml_id: int) -> "QuantType":
        """The type with this ggml id. Raises ValueError when there is none here."""
        for quant_type in cls:
            if quant_type.value == ggml_id:
                return quant_type
        raise ValueError(f"no implemented weight type has the ggml id {ggml_id}")

    def row_bytes(self, columns: int) -> int:
        """Bytes of one row. Raises ShapeError unless `columns` is a whole number of blocks."""
        num_blocks, rest = divmod(columns, self.block_columns)
        if rest or columns < 0:
            raise ShapeError(
                f"{self.name} stores {self.block_columns} columns a block; "
                f"a row of {columns} columns is not a whole number of blocks"
            )
        return num_blocks * self.block_bytes
