"""A small vector language for kernels, staged over LLVM.

A kernel body is an ordinary Python function that runs once, when Numba compiles: it calls an
`Emitter`, and each call emits vector instructions. Python loops therefore unroll, Python `if`s
choose at compile time, and `emitter.loop` makes a real loop. Values are 16 lanes of 32 bits or 64
bytes, one 512-bit register; LLVM splits them where the host's registers are narrower, so one
memory layout and one kernel text serve every host. Only the byte dot product is chosen by hand.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir
from numba.core import cgutils

from slipstream.cpu_kernels.compiled.instruction_set import InstructionSet

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()
LANES = 16
I32x16 = ir.VectorType(I32, LANES)
F32x16 = ir.VectorType(F32, LANES)
BYTES = ir.VectorType(I8, 64)


class Variable:
    """A vector that a loop changes; LLVM keeps it in a register."""

    def __init__(self, emitter: "Emitter", initial: ir.Value) -> None:
        self._builder = emitter.builder
        self._slot = cgutils.alloca_once_value(emitter.builder, initial)

    def get(self) -> ir.Value:
        return self._builder.load(self._slot)

    def set(self, value: ir.Value) -> None:
        self._builder.store(value, self._slot)


class Emitter:
    """Emits vector code at the builder's position for one instruction set."""

    def __init__(self, builder: ir.IRBuilder, instruction_set: InstructionSet) -> None:
        self.builder = builder
        self.instruction_set = instruction_set

    def address(self, base: ir.Value, *offsets: ir.Value | int) -> ir.Value:
        """`base` (int64) plus byte offsets."""
        for offset in offsets:
            step = ir.Constant(I64, offset) if isinstance(offset, int) else offset
            base = self.builder.add(base, step)
        return base

    def times(self, value: ir.Value, factor: int) -> ir.Value:
        """An int64 times a constant."""
        return self.builder.mul(value, ir.Constant(I64, factor))

    @contextmanager
    def loop(self, count: ir.Value | int) -> Iterator[ir.Value]:
        """Run the body `count` times; yields the int64 index."""
        limit = ir.Constant(I64, count) if isinstance(count, int) else count
        with cgutils.for_range(self.builder, limit, intp=I64) as running:
            yield running.index

    def load(self, kind: ir.Type, address: ir.Value) -> ir.Value:
        """Load `kind` from any byte address."""
        loaded = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        loaded.align = 1
        return loaded

    def store(self, value: ir.Value, address: ir.Value) -> None:
        """Store to any byte address."""
        stored = self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()))
        stored.align = 1

    def splat(self, scalar: ir.Value) -> ir.Value:
        """All 16 lanes equal to `scalar` (32 bits)."""
        kind = ir.VectorType(scalar.type, LANES)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(I32x16, [0] * LANES))

    def splat_bytes4(self, address: ir.Value) -> ir.Value:
        """The 4 bytes at `address` in each of the 16 lanes, as 64 bytes."""
        return self.builder.bitcast(self.splat(self.load(I32, address)), BYTES)

    def splat_f32(self, address: ir.Value) -> ir.Value:
        """The float32 at `address` in all lanes."""
        return self.splat(self.load(F32, address))

    def load_floats(self, dtype: str, address: ir.Value) -> ir.Value:
        """Load 16 values of `dtype` ("f32", "f16" or "bf16") as float32."""
        if dtype == "f32":
            return self.load(F32x16, address)
        if dtype == "f16":
            return self.builder.fpext(self.load(ir.VectorType(F16, LANES), address), F32x16)
        words = self.builder.zext(self.load(ir.VectorType(I16, LANES), address), I32x16)
        return self.builder.bitcast(self.builder.shl(words, self.ints(16)), F32x16)

    def load_bytes_as_floats(
        self, address: ir.Value, *, signed: bool, shift: int = 0, mask: int = 0xFF
    ) -> ir.Value:
        """Load 16 bytes, take `(byte >> shift) & mask`, convert to float32."""
        narrow = self.load(ir.VectorType(I8, LANES), address)
        if signed:
            return self.builder.sitofp(self.builder.sext(narrow, I32x16), F32x16)
        wide = self.builder.zext(narrow, I32x16)
        if shift:
            wide = self.builder.lshr(wide, self.ints(shift))
        if mask != 0xFF:
            wide = self.builder.and_(wide, self.ints(mask))
        return self.builder.sitofp(wide, F32x16)

    def to_float(self, value: ir.Value) -> ir.Value:
        """int32 lanes to float32 lanes."""
        return self.builder.sitofp(value, F32x16)

    def ints(self, value: int) -> ir.Constant:
        return ir.Constant(I32x16, [value] * LANES)

    def floats(self, value: float) -> ir.Constant:
        return ir.Constant(F32x16, [value] * LANES)

    def mul(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Product of float32 lanes, rounded."""
        return self.builder.fmul(a, b)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a * b + c in float32 lanes, rounded once."""
        return self.builder.call(
            self._intrinsic("llvm.fma.v16f32", F32x16, [F32x16] * 3), [a, b, c]
        )

    def bits(self, value: ir.Value, *, start: int, width: int, to: int = 0) -> ir.Value:
        """Of every byte, the `width` bits from `start`, moved to bit `to`."""
        b = self.builder
        if start > to:
            value = b.lshr(value, ir.Constant(BYTES, [start - to] * 64))
        elif to > start:
            value = b.shl(value, ir.Constant(BYTES, [to - start] * 64))
        if width == 8:
            return value
        return b.and_(value, ir.Constant(BYTES, [((1 << width) - 1) << to] * 64))

    def or_(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.or_(a, b)

    def lookup(self, table: tuple[int, ...], index: ir.Value) -> ir.Value:
        """table[index] for 64 byte indices 0..15."""
        if self.instruction_set.has_byte_shuffle:
            name = "llvm.x86.avx512.pshuf.b.512"
            entries = ir.Constant(BYTES, list(table) * 4)
            return self.builder.call(self._intrinsic(name, BYTES, [BYTES] * 2), [entries, index])
        return self._select_tree([ir.Constant(BYTES, [v] * 64) for v in table], index)

    def _select_tree(self, entries: list[ir.Value], index: ir.Value) -> ir.Value:
        """Table look-up by halving: one blend an entry, for hosts without a byte shuffle."""
        for bit in range(4):
            mask = self.bits(index, start=bit, width=1)
            chosen = self.builder.icmp_unsigned("!=", mask, ir.Constant(BYTES, [0] * 64))
            entries = [
                self.builder.select(chosen, high, low)
                for low, high in zip(entries[::2], entries[1::2], strict=True)
            ]
        return entries[0]

    def dot4(self, total: ir.Value, weights: ir.Value, x: ir.Value) -> ir.Value:
        """total[i] + sum over j < 4 of weights[4i + j] (unsigned) * x[4i + j] (signed), int32."""
        if self.instruction_set.dot == "vpdpbusd_512":
            function = self._intrinsic(
                "llvm.x86.avx512.vpdpbusd.512", I32x16, [I32x16, BYTES, BYTES]
            )
            return self.builder.call(function, [total, weights, x])
        if self.instruction_set.dot == "vpdpbusd_256":
            return self._dot4_halves(total, weights, x)
        return self._dot4_plain(total, weights, x)

    def _dot4_halves(self, total: ir.Value, weights: ir.Value, x: ir.Value) -> ir.Value:
        half_ints, half_bytes = ir.VectorType(I32, 8), ir.VectorType(I8, 32)
        function = self._intrinsic(
            "llvm.x86.avx512.vpdpbusd.256", half_ints, [half_ints, half_bytes, half_bytes]
        )
        halves = [
            self.builder.call(
                function,
                [self._slice(total, 8, h), self._slice(weights, 32, h), self._slice(x, 32, h)],
            )
            for h in (0, 1)
        ]
        return self.builder.shuffle_vector(*halves, ir.Constant(I32x16, list(range(16))))

    def _slice(self, value: ir.Value, count: int, index: int) -> ir.Value:
        lanes = list(range(index * count, (index + 1) * count))
        order = ir.Constant(ir.VectorType(I32, count), lanes)
        return self.builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), order)

    def _dot4_plain(self, total: ir.Value, weights: ir.Value, x: ir.Value) -> ir.Value:
        """Shift each byte to the top of its lane and back: no byte ever changes its lane."""
        b = self.builder
        weights, x = b.bitcast(weights, I32x16), b.bitcast(x, I32x16)
        for j in range(4):
            unsigned = b.and_(b.lshr(weights, self.ints(8 * j)), self.ints(0xFF))
            signed = b.ashr(b.shl(x, self.ints(24 - 8 * j)), self.ints(24))
            total = b.add(total, b.mul(unsigned, signed))
        return total

    def _intrinsic(self, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
        module = self.builder.module
        return module.globals.get(name) or ir.Function(
            module, ir.FunctionType(result, arguments), name
        )
