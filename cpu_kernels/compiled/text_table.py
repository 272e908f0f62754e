"""Many texts in one array, with a hash table to find them by.

262,144 tokens take 5 MB; as a list and a dictionary of Python strings they took ten times as much.
"""

import codecs
import os

import numpy as np

from slipstream.cpu_kernels.compiled.call import Call, record_of
from slipstream.cpu_kernels.compiled.kernel_library import load_kernel
from slipstream.cpu_kernels.compiled.records import BUILD_TABLE, FIND_TEXT, TEXT_TABLE
from slipstream.cpu_kernels.errors import ShapeError, expect_array

LONGEST_PROBE = 256  # slots; honest tables of a million texts need some 50
DUPLICATE, UNPLACED = 0, 8  # byte offsets in what building tells
LENGTH_BYTES = 8  # before each stored text
_DECODED_TOGETHER = 1 << 16


class TextTable:
    """Texts by their ids, 0 .. len - 1, and ids by their texts. Safe to share between threads.

    address   : of its TEXT_TABLE, for kernels
    duplicate : id of the first text that is there before, too; None if there is none
    longest   : bytes of the longest text
    """

    def __init__(self, stored: np.ndarray, num_texts: int) -> None:
        """Copy the texts and enter them.

        stored : uint8; texts in UTF-8, each after the number of its bytes as 8 bytes
        Raises ShapeError for texts that `stored` does not hold or of 2 GiB, and for so many
        of nearly one hash that only a crafted list has them.
        """
        expect_array("stored", stored, np.uint8, (stored.size,))
        num_bytes = stored.size - (LENGTH_BYTES - 1) * num_texts
        if not 0 <= num_texts <= num_bytes < 1 << 31:
            raise ShapeError(f"stored: {stored.size} bytes can't be {num_texts} texts")
        self._texts = np.zeros(num_bytes, np.uint8)
        self._starts = np.zeros(num_texts + 1, np.int32)
        seed, factor = np.frombuffer(os.urandom(16), np.int64).tolist()
        self._start_of = self._starts.data  # gives numbers in a quarter of an array's time
        self._slots = np.zeros(2 * num_texts + 1, np.int32)
        self._record = record_of(
            TEXT_TABLE,
            texts=self._texts,
            starts=self._starts,
            num_texts=num_texts,
            slots=self._slots,
            num_slots=self._slots.size,
            seed=seed,
            factor=factor | 1,
        )
        self.address: int = self._record.ctypes.data
        self.duplicate = self._build(stored)
        self.longest = int(np.diff(self._starts).max(initial=1)) - 1

    def _build(self, stored: np.ndarray) -> int | None:
        outcome = np.empty(2, np.int64)
        Call.of(
            load_kernel("text_table.build_table"),
            BUILD_TABLE,
            table=self.address,
            stored=stored,
            stored_bytes=stored.size,
            outcome=outcome,
        ).run(0)
        duplicate, unplaced = outcome.tolist()
        if unplaced >= 0:
            raise ShapeError(f"stored: text {unplaced} has no end or the hash of many others")
        return None if duplicate < 0 else duplicate

    def __len__(self) -> int:
        return self._starts.size - 1

    def __getitem__(self, text_id: int) -> str:
        """The text of an id; UnicodeDecodeError where it is not UTF-8, see `is_utf8`."""
        start, following = self._start_of[text_id], self._start_of[text_id + 1]
        return str(self._texts[start : following - 1].data, "utf-8")

    def find(self, text: str) -> int | None:
        """The id of a text, the first of equal ones."""
        data = text.encode()
        found = np.empty(1, np.int64)
        Call.of(
            load_kernel("text_table.find_text"),
            FIND_TEXT,
            table=self.address,
            text=np.frombuffer(data + b"\0", np.uint8),
            num_bytes=len(data),
            found=found,
        ).run(0)
        return None if found[0] < 0 else int(found[0])

    def first_difference(self, other: "TextTable") -> int | None:
        """The first id, of those that both tables have, whose text is another; None without."""
        num_texts = min(len(self), len(other))
        starts = self._starts[: num_texts + 1]
        end = min(starts[-1], other._starts[num_texts])
        bytes_apart = np.flatnonzero(self._texts[:end] != other._texts[:end])[:1]
        starts_apart = np.flatnonzero(starts != other._starts[: num_texts + 1])[:1] - 1
        texts_apart = np.searchsorted(starts, bytes_apart, side="right") - 1
        return min([*starts_apart.tolist(), *texts_apart.tolist()], default=None)

    def is_utf8(self) -> bool:
        """Whether all texts are; a separator is no part of a character, so none can join two."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for start in range(0, self._texts.size, _DECODED_TOGETHER):
                decoder.decode(self._texts[start : start + _DECODED_TOGETHER].data)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
        return True
