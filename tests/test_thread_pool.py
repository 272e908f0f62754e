"""When workers sleep, and that a call finds them."""

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from slipstream.cpu_kernels.compiled import thread_pool
from slipstream.cpu_kernels.compiled.thread_pool import ThreadPool


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of workers that run out of patience at once."""
    taken: list[int] = []

    def work(*_: int) -> None:
        taken.append(1)
        time.sleep(0.001)

    monkeypatch.setattr(thread_pool, "load_kernel", lambda _: SimpleNamespace(call=work))
    return taken


def test_a_worker_does_not_sleep_while_a_call_runs(turns: list[int]) -> None:
    """The call may have looked for sleepers just before this one lay down."""
    pool = ThreadPool()
    pool.num_threads = 2
    with pool._in_use:
        threading.Thread(target=pool._work, args=(0,), daemon=True).start()
        wait_until(lambda: len(turns) > 20)
    wait_until(lambda: pool._num_asleep == 1)
    before = len(turns)
    time.sleep(0.05)
    assert len(turns) == before


def test_a_worker_that_is_not_wanted_sleeps_through_calls(turns: list[int]) -> None:
    pool = ThreadPool()
    pool.resize(3)
    pool.resize(2)
    with pool._in_use:
        before = len(turns)
        time.sleep(0.05)
        assert pool._num_asleep == 1
        assert len(turns) > before  # the wanted one looks for work


def test_a_call_wakes_who_sleeps(turns: list[int]) -> None:
    pool = ThreadPool()
    pool.resize(2)
    wait_until(lambda: pool._num_asleep == 1)
    before = len(turns)

    def run(_: int) -> None:
        wait_until(lambda: len(turns) > before)

    call: Any = SimpleNamespace(run=run)
    pool.run(call)
    assert len(turns) > before
