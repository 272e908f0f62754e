"""Memory is locked once, for as long as anybody needs it, and what can't be is told."""

import gc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.gpu


class FakeRuntime:
    """Locks ranges of memory, but not those larger than `most_bytes`."""

    def __init__(self, most_bytes: int = 10**9) -> None:
        self.locked: dict[int, int] = {}
        self.most_bytes = most_bytes

    def register(self, address: int, num_bytes: int, flags: int) -> int:
        assert flags == 0
        assert address not in self.locked
        if num_bytes > self.most_bytes:
            return 2
        self.locked[address] = num_bytes
        return 0

    def unregister(self, address: int) -> int:
        del self.locked[address]
        return 0


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    torch = pytest.importorskip("torch", reason="torch is not installed: it is in slipstream[gpu]")
    pytest.importorskip("triton")
    from slipstream.gpu_kernels import page_lock

    fake = FakeRuntime()
    functions = SimpleNamespace(
        cudaHostRegister=lambda *given: fake.register(*given), cudaHostUnregister=fake.unregister
    )
    monkeypatch.setattr(torch.cuda, "cudart", lambda: functions)
    monkeypatch.setattr(page_lock, "compute_device", lambda: SimpleNamespace(type="cuda"))
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    return fake


def lock(*arrays: np.ndarray) -> Any:
    from slipstream.gpu_kernels import PageLock

    return PageLock(arrays)


def test_parts_of_a_buffer_are_locked_together_until_the_last_lock_goes(
    runtime: FakeRuntime,
) -> None:
    chunk, other = np.zeros(1000, np.uint8), np.zeros((4, 5), np.float16)
    parts = chunk[:100].reshape(10, 10), chunk[100:300].view(np.int16)
    locked = {chunk.ctypes.data: 1000, other.ctypes.data: 40}
    first = lock(*parts, other)
    assert runtime.locked == locked
    second = lock(parts[1])
    assert runtime.locked == locked
    del first
    gc.collect()
    assert runtime.locked == {chunk.ctypes.data: 1000}
    del second
    gc.collect()
    assert runtime.locked == {}


def test_a_lock_that_goes_while_another_is_made(runtime: FakeRuntime, never_hangs: None) -> None:
    first = [lock(np.zeros(1000, np.uint8))]
    register = runtime.register

    def collects(*given: int) -> int:  # as the garbage collector may anywhere
        first.clear()
        return register(*given)

    runtime.register = collects
    second = np.zeros(2000, np.uint8)
    kept = lock(second)
    assert runtime.locked == {second.ctypes.data: 2000}
    del kept


def test_it_keeps_the_memory(runtime: FakeRuntime) -> None:
    kept = lock(np.zeros(1000, np.uint8)[10:])
    (address,) = runtime.locked
    assert [buffer.ctypes.data for buffer in kept._buffers] == [address]


def test_what_cant_be_locked_is_told(
    runtime: FakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.most_bytes = 10**6
    small, large = np.zeros(1000, np.uint8), np.zeros(3 * 10**6, np.uint8)
    lock(small, large)
    assert "3 MB of weights and KV cache could not be locked" in caplog.text
    assert large.ctypes.data not in runtime.locked
