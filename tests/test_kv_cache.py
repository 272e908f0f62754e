"""The KV cache against a dictionary of lists: what is kept, moved, copied, forgotten and freed."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from slipstream.cpu_kernels.kv_pages import FROM_PAGES, kv_bytes_per_token
from slipstream.cpu_kernels.reference.attention import read_pages
from slipstream.cpu_kernels.reference.kv_blocks import hadamard
from slipstream.runtime.kv_cache import CacheFullError, KVCache
from slipstream.runtime.kv_cache.kv_cache import PAGE_SIZE
from slipstream.runtime.step_batch import StepBatch
from support.stored_keys import DTYPES, arrays_of, store

NUM_PAGES = 6
NUM_LAYERS, NUM_HEADS, HEAD_SIZE = 2, 2, 32


def new_cache(num_tokens: int = NUM_PAGES * PAGE_SIZE, dtype: str = "float16") -> KVCache:
    return KVCache(
        num_layers=NUM_LAYERS,
        num_kv_heads=NUM_HEADS,
        head_size=HEAD_SIZE,
        num_tokens=num_tokens,
        dtype=dtype,
    )


def write(cache: KVCache, batch: StepBatch) -> None:
    """Place a step and store numbers that tell its tokens, layers, heads and dimensions apart."""
    placement = cache.place(batch)
    for layer_id in range(NUM_LAYERS):
        pages = cache.layer(layer_id)
        keys = numbers(batch.tokens, layer_id, pages.dtype)
        store(pages, keys, -4 * keys, placement.pages, placement.offsets)


def numbers(tokens: Sequence[int] | np.ndarray, layer_id: int, dtype: str) -> np.ndarray:
    """(M, NUM_HEADS, HEAD_SIZE) float32, exact in the dtype: a token below 4096.

    The last number makes the scale of the others a power of two, which differs between tokens.
    """
    token = np.asarray(tokens, np.int32)[:, None]
    made = np.empty((len(token), NUM_HEADS, HEAD_SIZE), np.float32)
    made[...] = np.arange(HEAD_SIZE) % 16
    made[..., 0], made[..., 1], made[..., 2] = token // 256, token // 16 % 16, token % 16
    made[..., 3], made[..., 4] = layer_id, np.arange(NUM_HEADS)
    made[..., -1] = 0 if dtype == "int4" else 127
    if dtype == "int4":
        made = hadamard(made - 8, FROM_PAGES)
    exponents = (token + 3 * layer_id + np.arange(NUM_HEADS)) % 7 - 3
    return np.ldexp(made, exponents[..., None].astype(np.int32))


def check_contents(cache: KVCache, slot: int, tokens: list[int]) -> None:
    """A row that came next would find exactly the keys and values of `tokens`.

    Placing that row may need a page; what can't be looked at is left for the next look.
    """
    try:
        placement = cache.place(StepBatch.linear([(slot, len(tokens), [0])], []))
    except CacheFullError:
        return
    table, index = placement.everything.page_tables[0], np.arange(len(tokens))
    pages, offsets = table[index // PAGE_SIZE], index % PAGE_SIZE
    assert placement.everything.past.tolist() == [len(tokens)]
    for layer_id in range(NUM_LAYERS):
        stored = cache.layer(layer_id)
        keys, values = read_pages(stored, pages, offsets)
        want = numbers(tokens, layer_id, stored.dtype)
        np.testing.assert_array_equal(keys, want)
        np.testing.assert_array_equal(values, -4 * want)
    cache.truncate(slot, len(tokens))


def pages_of(length: int) -> int:
    return -(-length // PAGE_SIZE)


counts = st.sampled_from([1, 2, 3, 7, 20, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 100])


class CacheMachine(RuleBasedStateMachine):
    """Does the same to the cache and to `held`, a list of tokens for each slot."""

    dtype = "float16"
    slots = Bundle("slots")

    def __init__(self) -> None:
        super().__init__()
        self.cache = new_cache(dtype=self.dtype)
        self.held: dict[int, list[int]] = {}
        self.next_token = 0

    def new_tokens(self, count: int) -> list[int]:
        first, self.next_token = self.next_token, self.next_token + count
        return [token % 4096 for token in range(first, first + count)]

    def pages_in_use(self) -> int:
        return sum(pages_of(len(tokens)) for tokens in self.held.values())

    def try_write(self, batch: StepBatch) -> bool:
        """False when the cache was full, which must be so exactly when pages are short."""
        added = dict(zip(*np.unique(batch.slots, return_counts=True), strict=True))
        needed = sum(
            pages_of(len(tokens) + int(added.get(slot, 0))) for slot, tokens in self.held.items()
        )
        free = self.cache.free_tokens
        try:
            write(self.cache, batch)
        except CacheFullError:
            assert needed > NUM_PAGES
            assert self.cache.free_tokens == free
            return False
        assert needed <= NUM_PAGES
        return True

    @rule(target=slots)
    def open(self) -> int:
        slot = self.cache.open()
        assert slot not in self.held
        self.held[slot] = []
        return slot

    @rule(slot=consumes(slots))
    def close(self, slot: int) -> None:
        self.cache.close(slot)
        del self.held[slot]

    @rule(chosen=st.lists(st.tuples(slots, counts), min_size=1, max_size=3))
    def append(self, chosen: list[tuple[int, int]]) -> None:
        runs = {slot: self.new_tokens(count) for slot, count in chosen}
        batch = StepBatch.linear([(s, len(self.held[s]), t) for s, t in runs.items()], [])
        if self.try_write(batch):
            for slot, tokens in runs.items():
                self.cache.commit(slot)
                self.held[slot] += tokens

    @rule(slot=slots, count=st.sampled_from([1, 2, 5, 30, 70]), data=st.data())
    def append_one_path_of_a_tree(self, slot: int, count: int, data: st.DataObject) -> None:
        parents = [data.draw(st.integers(max(-1, node - 4), node - 1)) for node in range(count)]
        tokens = self.new_tokens(count)
        batch = StepBatch.tree(slot, len(self.held[slot]), tokens, parents)
        if not self.try_write(batch):
            return
        path: list[int] = []
        node = data.draw(st.integers(-1, count - 1))
        while node >= 0:
            path.insert(0, node)
            node = parents[node]
        self.cache.commit(slot, path)
        self.held[slot] += [tokens[node] for node in path]

    @rule(slot=slots, count=counts)
    def drop_a_step(self, slot: int, count: int) -> None:
        length = len(self.held[slot])
        if self.try_write(StepBatch.linear([(slot, length, self.new_tokens(count))], [])):
            self.cache.commit(slot, [])

    @rule(slot=slots, data=st.data())
    def truncate(self, slot: int, data: st.DataObject) -> None:
        length = data.draw(st.integers(0, len(self.held[slot])))
        self.cache.truncate(slot, length)
        del self.held[slot][length:]

    @rule(target=slots, source=slots, data=st.data())
    def fork(self, source: int, data: st.DataObject) -> int:
        length = data.draw(st.integers(0, len(self.held[source])))
        full = self.pages_in_use() + pages_of(length) > NUM_PAGES
        try:
            copy = self.cache.fork(source, length)
        except CacheFullError:
            assert full
            return multiple()  # no new slot: the source is in the bundle already
        assert not full
        self.held[copy] = self.held[source][:length]
        return copy

    @invariant()
    def no_page_is_lost(self) -> None:
        assert self.cache.free_tokens == (NUM_PAGES - self.pages_in_use()) * PAGE_SIZE

    @invariant()
    def everything_is_where_it_was(self) -> None:
        for slot, tokens in self.held.items():
            assert self.cache.length(slot) == len(tokens)
            check_contents(self.cache, slot, tokens)


class Int8CacheMachine(CacheMachine):
    """The same with scales, which must go where their numbers go."""

    dtype = "int8"


class Int4CacheMachine(CacheMachine):
    """The same with two numbers a byte."""

    dtype = "int4"


for machine in (CacheMachine, Int8CacheMachine, Int4CacheMachine):
    machine.TestCase.settings = settings(
        max_examples=60,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
TestCacheMachine = CacheMachine.TestCase
TestInt8CacheMachine = Int8CacheMachine.TestCase
TestInt4CacheMachine = Int4CacheMachine.TestCase


def test_the_numbers_of_these_tests_come_back_exactly() -> None:
    """And differ, so that a number in a wrong place is seen."""
    tokens = np.arange(4096)
    for dtype in DTYPES:
        for layer_id in range(NUM_LAYERS):
            assert len(np.unique(numbers(tokens, layer_id, dtype)[:, 0], axis=0)) == 4096
        cache = new_cache(dtype=dtype)
        slot = cache.open()
        write(cache, StepBatch.linear([(slot, 0, tokens[::11].tolist())], []))
        cache.commit(slot)
        check_contents(cache, slot, tokens[::11].tolist())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_token_takes_the_bytes_that_are_planned(dtype: str) -> None:
    """Of float16 53 % in int8 and 28 % in int4."""
    pages = new_cache(dtype=dtype).layer(0)
    num_bytes = sum(array.nbytes for array in arrays_of(pages).values())
    planned = kv_bytes_per_token(NUM_HEADS, HEAD_SIZE, dtype)
    assert num_bytes == NUM_PAGES * PAGE_SIZE * planned
    share = {"float16": 64, "int8": 34, "int4": 18}[dtype] / 64
    assert planned == share * kv_bytes_per_token(NUM_HEADS, HEAD_SIZE, "float16")


def test_capacity_is_rounded_up_to_pages() -> None:
    for num_tokens, want in ((1, 64), (64, 64), (65, 128)):
        assert new_cache(num_tokens).free_tokens == want


def test_a_step_that_was_not_committed_is_dropped_by_the_next() -> None:
    cache = new_cache()
    slot = cache.open()
    write(cache, StepBatch.linear([(slot, 0, [1, 2])], []))
    cache.commit(slot)
    write(cache, StepBatch.linear([(slot, 2, list(range(100)))], []))
    write(cache, StepBatch.linear([(slot, 2, [3])], []))
    cache.commit(slot)
    check_contents(cache, slot, [1, 2, 3])
    cache.close(slot)
    assert cache.free_tokens == NUM_PAGES * PAGE_SIZE


def test_commit_without_a_step_keeps_what_there_is() -> None:
    cache = new_cache()
    slot = cache.open()
    write(cache, StepBatch.linear([(slot, 0, [1, 2])], []))
    cache.commit(slot)
    cache.commit(slot)
    check_contents(cache, slot, [1, 2])


@pytest.mark.parametrize("path", [[1, 0], [0, 0], [-1], [3], [0, 1, 2, 3]])
def test_a_path_that_is_none_is_refused_and_changes_nothing(path: list[int]) -> None:
    cache = new_cache()
    slot = cache.open()
    write(cache, StepBatch.linear([(slot, 0, [5, 6, 7])], []))
    with pytest.raises(ValueError, match="ascending path of 3 rows"):
        cache.commit(slot, path)
    cache.commit(slot)
    check_contents(cache, slot, [5, 6, 7])


def test_lengths_beyond_the_sequence_are_refused() -> None:
    cache = new_cache()
    slot = cache.open()
    write(cache, StepBatch.linear([(slot, 0, [5, 6, 7])], []))
    cache.commit(slot)
    for length in (-1, 4):
        with pytest.raises(ValueError, match="up to 3"):
            cache.truncate(slot, length)
        with pytest.raises(ValueError, match="up to 3"):
            cache.fork(slot, length)
    check_contents(cache, slot, [5, 6, 7])


def test_a_closed_slot_is_unknown() -> None:
    cache = new_cache()
    slot = cache.open()
    cache.close(slot)
    for call in (cache.close, cache.length, cache.commit):
        with pytest.raises(KeyError):
            call(slot)
    with pytest.raises(KeyError):
        cache.place(StepBatch.linear([(slot, 0, [1])], []))
    assert cache.open() != slot


@pytest.mark.parametrize("window", [1, 3, 50, 1000])
def test_a_window_hides_keys_by_their_position(window: int) -> None:
    """Of the committed keys and of the tree's own rows, whose siblings share a position."""
    cache = new_cache()
    first, second = cache.open(), cache.open()
    write(cache, StepBatch.linear([(first, 0, [0] * 70), (second, 0, [0] * 4)], []))
    cache.commit(first)
    cache.commit(second)
    tree = StepBatch.tree(first, 70, [0] * 5, [-1, 0, 0, 1, 3])
    run = StepBatch.linear([(second, 4, [0, 0])], [])
    batch = StepBatch(
        tokens=np.concatenate([tree.tokens, run.tokens]),
        positions=np.concatenate([tree.positions, run.positions]),
        slots=np.concatenate([tree.slots, run.slots]),
        ancestors=np.block(
            [[tree.ancestors, np.zeros((5, 2), bool)], [np.zeros((2, 5), bool), run.ancestors]]
        ),
        wanted=np.array([], np.int32),
    )
    visibility = cache.place(batch).visibility(window)
    past = {first: 70, second: 4}
    for row, (slot, position) in enumerate(zip(batch.slots, batch.positions, strict=True)):
        seen = [
            other
            for other in range(len(batch.tokens))
            if batch.ancestors[row, other] and position - batch.positions[other] < window
        ]
        start = 0 if slot == first else 5
        mask = visibility.mask[row, : visibility.num_new[visibility.sequences[row]]]
        assert (np.flatnonzero(mask) + start).tolist() == seen
        oldest = min(max(0, position - window + 1), past[int(slot)])
        assert visibility.first_key[row] == oldest
