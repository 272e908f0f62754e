"""A small vector language for kernels, staged over LLVM.

A kernel body is an ordinary Python function that runs once, when Numba compiles: it calls an
`Emitter`, and each call emits vector instructions. Python loops therefore unroll, Python `if`s
choose at compile time, and `emitter.loop` makes a real loop. Values are 16 lanes of 32 bits or 64
bytes, one 512-bit register; LLVM splits them where the host's registers are narrower, so one
memory layout and one kernel text serve every host. Only byte dot product and look-up are
chosen by hand.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llvmlite import ir
from numba.core import cgutils

from slipstream.cpu_kernels.compiled.instruction_set import InstructionSet
from slipstream.cpu_kernels.compiled.kernels.exponential import (
    HIGHEST,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    LOWEST,
    POLYNOMIAL,
)

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()
LANES = 16
I32x16 = ir.VectorType(I32, LANES)
F32x16 = ir.VectorType(F32, LANES)
I64x16 = ir.VectorType(I64, LANES)
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

    def prefetch(self, address: ir.Value) -> None:
        """Ask for the cache line at `address`, which need not be there."""
        pointer = self.builder.inttoptr(address, I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        self.builder.call(function, [pointer, *(ir.Constant(I32, n) for n in (0, 3, 1))])

    def keep_order(self) -> None:
        """Let LLVM move no memory access across this place; emits no instruction.

        It likes to load early, and what does not fit the registers then goes through memory.
        """
        self.builder.fence("acq_rel", targetscope="singlethread")

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

    def load_half(self, address: ir.Value) -> ir.Value:
        """The float16 at `address` as a float32 scalar."""
        return self.builder.fpext(self.load(F16, address), F32)

    def any_true(self, mask: ir.Value) -> ir.Value:
        """Whether any of 16 comparisons holds, as one bit."""
        bits = self.builder.bitcast(mask, ir.IntType(LANES))
        return self.builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    def max_float(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The larger of float32 lanes; `b` where `a` is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def highest_float(self, value: ir.Value) -> ir.Value:
        """The largest of 16 float32 lanes."""
        return self.builder.call(
            self._intrinsic("llvm.vector.reduce.fmax.v16f32", F32, [F32x16]), [value]
        )

    def exp(self, x: ir.Value) -> ir.Value:
        """As `exp_f32`, lane by lane."""
        b = self.builder
        x = b.select(b.fcmp_ordered(">", x, self.floats(LOWEST)), x, self.floats(LOWEST))
        x = b.select(b.fcmp_ordered("<", x, self.floats(HIGHEST)), x, self.floats(HIGHEST))
        n = self._round(self.mul(x, self.floats(LOG2_E)))
        r = self.fma(n, self.floats(-LN2_HIGH), x)
        r = self.fma(n, self.floats(-LN2_LOW), r)
        p = self.floats(POLYNOMIAL[0])
        for coefficient in POLYNOMIAL[1:]:
            p = self.fma(p, r, self.floats(coefficient))
        p = self.add(self.fma(self.mul(p, r), r, r), self.floats(1.0))
        exponent = b.shl(b.add(b.fptosi(n, I32x16), self.ints(127)), self.ints(23))
        return self.mul(p, b.bitcast(exponent, F32x16))

    def longs(self, value: int) -> ir.Constant:
        return ir.Constant(I64x16, [value] * LANES)

    def to_long(self, value: ir.Value) -> ir.Value:
        """float32 lanes to int64 lanes, towards zero."""
        return self.builder.fptosi(value, I64x16)

    def total_long(self, value: ir.Value) -> ir.Value:
        """The sum of 16 int64 lanes."""
        return self.builder.call(
            self._intrinsic("llvm.vector.reduce.add.v16i64", I64, [I64x16]), [value]
        )

    def magnitude_bits(self, value: ir.Value) -> ir.Value:
        """The bits of |value|: as integers in its order, with NaN above infinity."""
        return self.builder.and_(self.builder.bitcast(value, I32x16), self.ints(0x7FFFFFFF))

    def round_to_int(self, value: ir.Value) -> ir.Value:
        """float32 lanes to the nearest int32, ties to even."""
        return self.builder.fptosi(self._round(value), I32x16)

    def _round(self, value: ir.Value) -> ir.Value:
        return self.builder.call(self._intrinsic("llvm.rint.v16f32", F32x16, [F32x16]), [value])

    def max_int(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The larger of unsigned int32 lanes."""
        return self.builder.select(self.builder.icmp_unsigned(">", a, b), a, b)

    def highest(self, value: ir.Value) -> ir.Value:
        """The largest of 16 unsigned int32 lanes."""
        return self.builder.call(
            self._intrinsic("llvm.vector.reduce.umax.v16i32", I32, [I32x16]), [value]
        )

    def total(self, value: ir.Value) -> ir.Value:
        """The sum of 16 int32 lanes."""
        return self.builder.call(
            self._intrinsic("llvm.vector.reduce.add.v16i32", I32, [I32x16]), [value]
        )

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Sum of float32 lanes, rounded."""
        return self.builder.fadd(a, b)

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
        if self.instruction_set.shuffle == "pshufb_512":
            shuffle = self._intrinsic("llvm.x86.avx512.pshuf.b.512", BYTES, [BYTES] * 2)
            return self.builder.call(shuffle, [ir.Constant(BYTES, list(table) * 4), index])
        if self.instruction_set.shuffle == "plain":
            return self._select_tree([ir.Constant(BYTES, [v] * 64) for v in table], index)
        width, name = {
            "pshufb_256": (32, "llvm.x86.avx2.pshuf.b"),
            "tbl": (16, "llvm.aarch64.neon.tbl1.v16i8"),
        }[self.instruction_set.shuffle]
        kind = ir.VectorType(I8, width)
        shuffle, entries = self._intrinsic(name, kind, [kind] * 2), list(table) * (width // 16)
        return self._in_parts(
            width,
            lambda part: self.builder.call(shuffle, [ir.Constant(kind, entries), part]),
            index,
        )

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

    def dot4(
        self, total: ir.Value, weights: ir.Value, x: ir.Value, *, largest: int = 255
    ) -> ir.Value:
        """total[i] + sum over j < 4 of weights[4i + j] (unsigned) * x[4i + j] (signed), int32.

        largest : that a weight can be; x is above -128
        """
        dot = self.instruction_set.dot
        if dot == "vpdpbusd_512":
            kind = [I32x16, BYTES, BYTES]
            function = self._intrinsic("llvm.x86.avx512.vpdpbusd.512", I32x16, kind)
            return self.builder.call(function, [total, weights, x])
        if dot == "vpdpbusd_256":
            return self._dot4_in_parts("llvm.x86.avx512.vpdpbusd.256", 32, total, weights, x)
        if dot == "plain":
            return self._dot4_plain(total, weights, x)
        if largest < 128:
            return self._dot4_of_7_bits(total, weights, x)
        high = self.bits(weights, start=7, width=1, to=7 if dot == "pmaddubsw_256" else 0)
        total = self._dot4_of_7_bits(total, self.bits(weights, start=0, width=7), x)
        if dot == "pmaddubsw_256":  # 2 * 128 * 127 still fits 16 bits
            return self._dot4_of_7_bits(total, high, x)
        tops = self._dot4_of_7_bits(self.ints(0), high, x)
        return self.builder.add(total, self.builder.shl(tops, self.ints(7)))

    def _dot4_of_7_bits(self, total: ir.Value, weights: ir.Value, x: ir.Value) -> ir.Value:
        """`dot4` of weights that a signed instruction, or sums of pairs in 16 bits, can hold."""
        if self.instruction_set.dot == "sdot":
            return self._dot4_in_parts("llvm.aarch64.neon.sdot.v4i32.v16i8", 16, total, weights, x)
        return self._in_parts(32, self._multiply_add_pairs, total, weights, x)

    def _multiply_add_pairs(self, total: ir.Value, weights: ir.Value, x: ir.Value) -> ir.Value:
        bytes_, words, ints = ir.VectorType(I8, 32), ir.VectorType(I16, 16), ir.VectorType(I32, 8)
        pairs = self._intrinsic("llvm.x86.avx2.pmadd.ub.sw", words, [bytes_] * 2)
        fours = self._intrinsic("llvm.x86.avx2.pmadd.wd", ints, [words] * 2)
        sums = self.builder.call(pairs, [weights, x])
        sums = self.builder.call(fours, [sums, ir.Constant(words, [1] * 16)])
        return self.builder.add(total, sums)

    def _dot4_in_parts(
        self, name: str, width: int, total: ir.Value, weights: ir.Value, x: ir.Value
    ) -> ir.Value:
        """`dot4` by an instruction on vectors of `width` bytes."""
        ints, bytes_ = ir.VectorType(I32, width // 4), ir.VectorType(I8, width)
        function = self._intrinsic(name, ints, [ints, bytes_, bytes_])
        return self._in_parts(
            width, lambda *parts: self.builder.call(function, parts), total, weights, x
        )

    def _in_parts(
        self, width: int, compute: Callable[..., ir.Value], *values: ir.Value
    ) -> ir.Value:
        """compute(...) on each `width` bytes of 64-byte vectors, put together again."""
        parts = [
            compute(*(self._slice(value, width, part) for value in values))
            for part in range(64 // width)
        ]
        while len(parts) > 1:
            parts = [
                self._join(low, high) for low, high in zip(parts[::2], parts[1::2], strict=True)
            ]
        return parts[0]

    def _slice(self, value: ir.Value, width: int, part: int) -> ir.Value:
        """`width` of a vector's 64 bytes."""
        count = value.type.count * width // 64
        lanes = list(range(part * count, (part + 1) * count))
        order = ir.Constant(ir.VectorType(I32, count), lanes)
        return self.builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), order)

    def _join(self, low: ir.Value, high: ir.Value) -> ir.Value:
        count = 2 * low.type.count
        order = ir.Constant(ir.VectorType(I32, count), list(range(count)))
        return self.builder.shuffle_vector(low, high, order)

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
