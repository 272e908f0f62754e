"""Drafters: what they guess, and what they learn."""

import numpy as np

from slipstream.runtime.speculation import ROOT
from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.ngram_lookup import NgramLookup
from slipstream.runtime.speculation.token_recycling import TokenRecycling
from slipstream.runtime.speculation.tree_growth import TreeGrowth, Worth

NO_VALUE = 1e-9


def chain(drafter: NgramLookup, text: list[int], length: int) -> list[int]:
    """The likeliest guesses one after another."""
    state, token, found = drafter.begin(text), text[-1], []
    for _ in range(length):
        guesses = drafter.guesses((token,), state)
        if not guesses:
            break
        token, state = guesses[0].token, guesses[0].state
        found.append(token)
    return found


def test_a_text_that_repeats_itself_is_continued() -> None:
    text = [1, 2, 3, 4, 5, 6, 7, 9, 1, 2]
    assert chain(NgramLookup(), text, 20) == [3, 4, 5, 6, 7, 9, 1, 2]


def test_the_longest_match_comes_first_and_the_others_stay() -> None:
    text = [9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2]
    drafter = NgramLookup()
    guesses = drafter.guesses((2,), drafter.begin(text))
    assert [guess.token for guess in guesses] == [3, 4]  # 9 1 2 matches, then only 1 2
    assert guesses[0].kind == ("n-gram", 3)
    assert guesses[1].kind == ("older n-gram", 2)


def test_one_token_is_enough_where_more_never_came() -> None:
    text = [7, 2, 3, 9, 2]
    drafter = NgramLookup()
    guesses = drafter.guesses((2,), drafter.begin(text))
    assert [(guess.token, guess.kind) for guess in guesses] == [(3, ("n-gram", 1))]


def test_one_token_said_twice_is_said_again() -> None:
    assert chain(NgramLookup(), [5, 5], 3) == [5]


def test_a_long_match_is_found_behind_many_later_short_ones() -> None:
    text = [1, 2, 3, 4, 5, *[9, 4, 6] * 10, 1, 2, 3, 4]
    assert chain(NgramLookup(), text, 1) == [5]


def test_a_growing_text_is_indexed_once_and_all_of_it() -> None:
    text = list(range(100, 130))
    drafter, fresh = NgramLookup(), NgramLookup()
    rng = np.random.default_rng(0)
    for token in rng.integers(100, 104, 200).tolist():
        drafter.begin(text)
        text.append(token)
    state = drafter.begin(text)
    assert state == fresh.begin(text)
    assert drafter._after == fresh._after


def test_nothing_is_guessed_of_what_never_was() -> None:
    drafter = NgramLookup()
    for text in ([5], [5, 6], [1, 2, 3]):
        assert drafter.guesses((text[-1],), drafter.begin(text)) == []


def test_recycling_gives_back_what_the_target_found_likely() -> None:
    drafter = TokenRecycling(vocab_size=20)
    assert drafter.guesses((3,), None) == []
    likeliest = np.array([range(8), range(8, 16), [1, 25, 3, 4, 5, 6, 7, 8]], np.int32)
    logits = np.tile(np.arange(8, 0, -1, dtype=np.float32), (3, 1))
    drafter.observe([3, 4, 3], likeliest, logits)
    assert [each.token for each in drafter.guesses((4,), None)] == list(range(8, 16))
    assert [each.token for each in drafter.guesses((3,), None)] == [1, 3, 4, 5, 6, 7, 8]  # the last
    assert drafter.guesses((19,), None) == drafter.guesses((25,), None) == []


def test_recycling_survives_padded_tokens_and_rows_without_numbers() -> None:
    drafter = TokenRecycling(vocab_size=20)
    likeliest = np.array([range(8), [-1] * 8, [3, 4, 20, 31, -1, -1, -1, -1]], np.int32)
    logits = np.tile(np.arange(8, 0, -1, dtype=np.float32), (3, 1))
    drafter.observe([25, 5, 6], likeliest, logits)  # 25 is a row that embeddings are padded with
    assert drafter.guesses((5,), None) == drafter.guesses((25,), None) == []
    assert [each.token for each in drafter.guesses((6,), None)] == [3, 4]


def test_trees_grow_best_first_and_within_their_size() -> None:
    drafter = TokenRecycling(vocab_size=40)
    rng = np.random.default_rng(1)
    logits = -np.sort(-rng.standard_normal((40, 8)).astype(np.float32), axis=1)
    candidates = np.stack([rng.permutation(40)[:8] for _ in range(40)]).astype(np.int32)
    drafter.observe(range(40), candidates, logits)
    rates = AcceptanceRates()
    growth = TreeGrowth([drafter], rates, [7], Worth(least_value=NO_VALUE))
    assert growth.grow(60)
    whole, values = growth.tree(60), list(growth.values)
    assert len(whole) == 60
    assert values == sorted(values, reverse=True)
    for node, parent in enumerate(whole.parents):
        assert ROOT <= parent < node
        above = 7 if parent == ROOT else whole.tokens[parent]
        assert whole.tokens[node] in candidates[above]
    siblings = list(zip(whole.parents, whole.tokens, strict=True))
    assert len(set(siblings)) == len(siblings)
    stepwise = TreeGrowth([drafter], rates, [7], Worth(least_value=NO_VALUE))
    for size in (0, 1, 13, 60):
        assert stepwise.grow(size)
        assert stepwise.tree(size) == growth.tree(size)
    valued = TreeGrowth([drafter], rates, [7], Worth(least_value=values[20]))
    assert not valued.grow(60)
    assert min(valued.values) >= values[20]
    assert valued.tree(60) == growth.tree(len(valued.values))


def test_drafters_that_agree_are_surer_than_one() -> None:
    text = [1, 2, 3, 1, 2]
    recycling = TokenRecycling(vocab_size=10)
    logits = np.arange(8, 0, -1, dtype=np.float32)[None]
    recycling.observe([2], np.array([[3, 4, 5, 6, 7, 8, 9, 0]], np.int32), logits)
    rates = AcceptanceRates()

    def value(*drafters: object) -> float:
        growth = TreeGrowth(drafters, rates, text, Worth(least_value=NO_VALUE))
        growth.grow(8)
        return growth.values[growth.tree(8).tokens.index(3)]

    both = value(NgramLookup(), recycling)
    assert both > max(value(NgramLookup()), value(recycling))


def test_rates_follow_what_happens() -> None:
    rates = AcceptanceRates()
    assert rates.rate("kind", 0.3) == 0.3
    for _ in range(200):
        rates.observe("kind", 0.3, accepted=True)
    assert rates.rate("kind", 0.3) > 0.9
    for _ in range(100):
        rates.observe("kind", 0.3, accepted=False)
    assert rates.rate("kind", 0.3) < 0.1
    assert rates.rate("other", 0.3) == 0.3
