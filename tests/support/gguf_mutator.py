"""A seeded mutator that knows where the fields of a GGUF file are."""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

_VALUE_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9

# Numbers at which sizes, signs and products wrap.
_EDGES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 31, 32, 33, 255, 256, 65_535, 65_536, 2**24, 3_000_000]
_EDGES += [
    2**bits + delta for bits in (31, 32, 40, 61, 62, 63, 64) for delta in (-32, -8, -1, 0, 1)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A number in the header: where it is and how many bytes it has."""

    start: int
    num_bytes: int


class Mutator:
    """Makes damaged copies of a sound file. The seed of a copy decides its damage."""

    def __init__(self, sound: bytes) -> None:
        self.sound = sound
        walk = _Walk(sound)
        self._fields = walk.fields
        self._texts = walk.texts
        self._header_bytes = walk.position

    def mutate(self, seed: int) -> bytes:
        """A copy with one to four kinds of damage."""
        rng = random.Random(seed)
        stored = bytearray(self.sound)
        kinds: list[Callable[[bytearray, random.Random], None]] = [
            self._set_field, self._set_field, self._set_field, self._copy_field, self._flip_bits,
            self._spoil_text, self._truncate, self._insert_or_delete, self._randomise,
        ]  # fmt: skip
        for kind in rng.choices(kinds, k=rng.choice([1, 1, 1, 2, 3, 4])):
            kind(stored, rng)
        return bytes(stored)

    def _set_field(self, stored: bytearray, rng: random.Random) -> None:
        """A count, length, type, dimension, offset or value becomes an awkward number."""
        field = rng.choice(self._fields)
        old = int.from_bytes(self.sound[field.start : field.start + field.num_bytes], "little")
        size = len(stored)
        awkward = rng.choice([*_EDGES, old - 1, old + 1, old * 2, size, size + 1, size - 32, -1])
        value = awkward % 2 ** (8 * field.num_bytes)
        self._write(stored, field.start, value.to_bytes(field.num_bytes, "little"))

    def _copy_field(self, stored: bytearray, rng: random.Random) -> None:
        """A number is repeated in another place: names, types and offsets that clash."""
        source, target = rng.sample(self._fields, 2)
        self._write(
            stored, target.start, self.sound[source.start : source.start + target.num_bytes]
        )

    def _flip_bits(self, stored: bytearray, rng: random.Random) -> None:
        for _ in range(rng.choice([1, 1, 2, 8, 64])):
            position = rng.randrange(min(self._header_bytes, len(stored)) or 1)
            self._write(stored, position, bytes([stored[position] ^ 1 << rng.randrange(8)]))

    def _spoil_text(self, stored: bytearray, rng: random.Random) -> None:
        """Part of a key, name or text becomes invalid UTF-8, zeros or another text."""
        start, num_bytes = rng.choice(self._texts)
        other_start, other_bytes = rng.choice(self._texts)
        other = self.sound[other_start : other_start + min(num_bytes, other_bytes)]
        spoiled = rng.choice([b"\xff", b"\xed\xa0\x80", b"\x00" * num_bytes, b"\xc3", other])
        self._write(stored, start, spoiled[:num_bytes])

    def _truncate(self, stored: bytearray, rng: random.Random) -> None:
        ends = [rng.randrange(len(stored) + 1), rng.choice(self._fields).start, len(stored) - 1]
        ends.append(rng.randrange(self._header_bytes))
        del stored[max(0, rng.choice(ends)) :]
        stored.extend(b"\0" * rng.choice([0, 0, 0, 1, 5000]))

    def _insert_or_delete(self, stored: bytearray, rng: random.Random) -> None:
        """Everything after a place moves by some bytes."""
        position = rng.randrange(min(self._header_bytes, len(stored)) + 1)
        num_bytes = rng.choice([1, 4, 8, 12, 100])
        if rng.random() < 0.5:
            del stored[position : position + num_bytes]
        else:
            stored[position:position] = self.sound[position : position + num_bytes]

    def _randomise(self, stored: bytearray, rng: random.Random) -> None:
        position = rng.randrange(min(self._header_bytes, len(stored)) or 1)
        self._write(stored, position, rng.randbytes(rng.choice([1, 2, 4, 8, 40])))

    @staticmethod
    def _write(stored: bytearray, start: int, value: bytes) -> None:
        """Overwrite without growing a file that was cut before."""
        value = value[: max(0, len(stored) - start)]
        stored[start : start + len(value)] = value


class _Walk:
    """Finds the fields and texts of a sound GGUF file."""

    def __init__(self, stored: bytes) -> None:
        self._stored = stored
        self.fields: list[_Field] = []
        self.texts: list[tuple[int, int]] = []
        self.position = 0
        self._number(4)
        self._number(4)
        num_tensors, num_keys = self._number(8), self._number(8)
        for _ in range(num_keys):
            self._text()
            self._value(self._number(4))
        for _ in range(num_tensors):
            self._text()
            for _ in range(self._number(4)):
                self._number(8)
            self._number(4)
            self._number(8)

    def _number(self, num_bytes: int) -> int:
        self.fields.append(_Field(start=self.position, num_bytes=num_bytes))
        self.position += num_bytes
        return int.from_bytes(self._stored[self.position - num_bytes : self.position], "little")

    def _text(self) -> None:
        num_bytes = self._number(8)
        self.texts.append((self.position, num_bytes))
        self.position += num_bytes

    def _value(self, value_type: int) -> None:
        if value_type == _STRING:
            self._text()
        elif value_type != _ARRAY:
            self._number(_VALUE_BYTES[value_type])
        else:
            self._list(*struct.unpack_from("<IQ", self._stored, self.position))

    def _list(self, entry_type: int, count: int) -> None:
        self._number(4)
        self._number(8)
        first_field, first_text = len(self.fields), len(self.texts)
        for _ in range(count):
            self._value(entry_type)
        # A few entries stand for all, or hits elsewhere would be rare.
        del self.fields[first_field + 3 : -3], self.texts[first_text + 3 : -3]
