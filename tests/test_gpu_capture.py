"""Captures share a pool of memory for as long as torch lets them, and one at a time."""

import gc
from collections import Counter
from contextlib import nullcontext
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.gpu


class FakePools:
    """As torch: a pool that no graph has any more, or whose capture failed, can't be taken."""

    def __init__(self) -> None:
        self.handles = count(1)
        self.graphs: Counter[int] = Counter()
        self.ended: set[int] = set()
        self.fails = False

    def graph(self) -> Any:
        return FakeGraph(self)


class FakeGraph:
    def __init__(self, pools: FakePools) -> None:
        self.pools = pools
        self.pool = 0

    def capture_begin(self, *, pool: int, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local"
        assert pool not in self.pools.ended, "the pool has ended"
        assert not gc.isenabled()
        self.pool = pool
        self.pools.graphs[pool] += 1

    def capture_end(self) -> None:
        if self.pools.fails:
            self.pools.ended.add(self.pool)
            raise RuntimeError("the capture was ended")

    def __del__(self) -> None:
        self.pools.graphs[self.pool] -= 1
        if not self.pools.graphs[self.pool]:
            self.pools.ended.add(self.pool)


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> FakePools:
    torch = pytest.importorskip("torch", reason="torch is not installed: it is in slipstream[gpu]")
    pytest.importorskip("triton")
    from slipstream.gpu_kernels import capture

    fake = FakePools()
    monkeypatch.setattr(capture, "_stream", lambda: SimpleNamespace())
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", fake.graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(fake.handles))
    monkeypatch.setattr(capture, "_SHARING", type(capture._SHARING)())
    return fake


def captured(*, fails: bool = False) -> Any:
    from slipstream.gpu_kernels.capture import capturing

    with capturing() as graph:
        if fails:
            raise RuntimeError("out of memory")
    assert gc.isenabled()
    return graph


def test_graphs_share_a_pool_until_the_last_goes(pools: FakePools) -> None:
    first, second = captured(), captured()
    assert (first.pool, second.pool) == (1, 1)
    del first
    third = captured()
    assert third.pool == 1
    del second, third
    assert captured().pool == 2


@pytest.mark.parametrize("where", ["an op", "the end"])
def test_a_failed_capture_leaves_its_pool_alone(pools: FakePools, where: str) -> None:
    kept = captured()
    pools.fails = where == "the end"
    with pytest.raises(RuntimeError):
        captured(fails=where == "an op")
    pools.fails = False
    assert gc.isenabled()
    following = captured()
    assert (kept.pool, following.pool) == (1, 2)
    assert captured().pool == 2
