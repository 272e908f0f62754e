"""When a costly drafter is asked, and when it rests."""

from itertools import pairwise

import pytest

from slipstream.runtime.speculation.account import Account


def test_a_drafter_that_saves_nothing_rests_longer_each_time() -> None:
    account, asked = Account(), []
    for token in range(20_000):
        if account.is_worth_reading(0.0, 100, 0.5, 1.0):
            account.took(0.1, 0.1)
            account.observe(1, 1.1, 1, 1.0)
            asked.append(token)
        else:
            account.passed(1)
    rests = [after - before - 1 for before, after in pairwise(asked) if after > before + 1]
    assert rests == [256, 512, 1024, 2048, 4096, 8192]
    assert len(asked) < 7 * 100  # as many trials


def test_a_drafter_that_saves_again_goes_on() -> None:
    account = Account()
    assert account.note() == "is being tried"
    account.observe(100, 110.0, 100, 100.0)
    assert not account.is_worth_reading(0.0, 100, 0.5, 1.0)
    assert account.note().startswith("rests for 256 tokens more: it saved -100.00 ms a token")
    account.passed(10_000)
    assert account.is_worth_reading(40.0, 100, 0.5, 1.0)  # as expected of a new one
    assert not account.is_worth_reading(60.0, 100, 0.5, 1.0)
    account.observe(100, 60.0, 50, 50.0)
    assert account.saved_s(1.0) == pytest.approx(0.4)
    assert account.is_worth_reading(34.0, 100, 0.0, 1.0)
    assert account.note() == "saves 400.00 ms a token"
    assert not account.is_worth_reading(36.0, 100, 1.0, 1.0)
    assert account.is_worth_reading(34.0, 100, 0.0, 1.0)  # of a shorter prompt


def test_one_slow_moment_does_not_silence_a_drafter() -> None:
    account = Account()
    for seconds in (0.002, 60.0, 0.002, 0.002):
        account.took(0.001, seconds)
    assert account.is_worth_asking(0.001, 0.003)
    for _ in range(7):
        account.took(0.001, 0.005)
    assert not account.is_worth_asking(0.001, 0.003)


def test_what_one_prompt_takes_to_read_says_nothing_of_the_drafter() -> None:
    account = Account()
    account.observe(100, 60.0, 50, 50.0)
    assert not account.is_worth_reading(1_000.0, 10, 1.0, 1.0)
    assert not account.rests
    assert account.is_worth_reading(1.0, 10, 1.0, 1.0)


def test_a_drafter_that_is_never_asked_rests_soon() -> None:
    account = Account()
    for _ in range(17):
        assert account.is_worth_reading(0.0, 100, 0.5, 1.0)
        assert not account.is_worth_asking(0.6, 0.5)
        account.observe(1, 1.01, 1, 1.01)
    assert not account.is_worth_reading(0.0, 100, 0.5, 1.0)
