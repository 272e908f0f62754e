"""Drafters: what they guess, and what they learn."""

import numpy as np

from slipstream.runtime.speculation import ROOT, NgramLookup, TokenRecycling
from slipstream.runtime.speculation.acceptance_rates import AcceptanceRates
from slipstream.runtime.speculation.tree_growth import grow_tree

NO_VALUE = 1e-9


def chain(drafter: NgramLookup, text: list[int], length: int) -> list[int]:
    """The likeliest guesses one after another."""
    state, token, found = drafter.begin(text), text[-1], []
    for _ in range(length):
        guesses = drafter.guesses(token, state)
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
    guesses = drafter.guesses(2, drafter.begin(text))
    assert [guess.token for guess in guesses] == [3, 4]  # 9 1 2 matches, then only 1 2
    assert guesses[0].kind == ("n-gram", 3)
    assert guesses[1].kind == ("older n-gram", 2)


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
        assert drafter.guesses(text[-1], drafter.begin(text)) == []


def test_recycling_gives_back_what_the_target_found_likely() -> None:
    drafter = TokenRecycling(vocab_size=20)
    assert drafter.guesses(3, None) == []
    likeliest = np.array([range(8), range(8, 16), [1, 25, 3, 4, 5, 6, 7, 8]], np.int32)
    logits = np.tile(np.arange(8, 0, -1, dtype=np.float32), (3, 1))
    drafter.observe([3, 4, 3], likeliest, logits)
    assert [each.token for each in drafter.guesses(4, None)] == list(range(8, 16))
    assert [each.token for each in drafter.guesses(3, None)] == [1, 3, 4, 5, 6, 7, 8]  # the last
    assert drafter.guesses(19, None) == drafter.guesses(25, None) == []


def test_trees_grow_best_first_and_within_their_size() -> None:
    drafter = TokenRecycling(vocab_size=40)
    rng = np.random.default_rng(1)
    logits = -np.sort(-rng.standard_normal((40, 8)).astype(np.float32), axis=1)
    candidates = np.stack([rng.permutation(40)[:8] for _ in range(40)]).astype(np.int32)
    drafter.observe(range(40), candidates, logits)
    rates = AcceptanceRates()
    whole = grow_tree([drafter], rates, [7], max_nodes=60, least_value=NO_VALUE).tree
    assert len(whole) == 60
    assert list(whole.values) == sorted(whole.values, reverse=True)
    for node, parent in enumerate(whole.parents):
        assert ROOT <= parent < node
        above = 7 if parent == ROOT else whole.tokens[parent]
        assert whole.tokens[node] in candidates[above]
    siblings = list(zip(whole.parents, whole.tokens, strict=True))
    assert len(set(siblings)) == len(siblings)
    for size in (0, 1, 13):
        smaller = grow_tree([drafter], rates, [7], max_nodes=size, least_value=NO_VALUE).tree
        assert smaller == whole.first(size)
    least = whole.values[20]
    valued = grow_tree([drafter], rates, [7], max_nodes=60, least_value=least).tree
    assert valued == whole.first(len(valued))
    assert min(valued.values) >= least


def test_drafters_that_agree_are_surer_than_one() -> None:
    text = [1, 2, 3, 1, 2]
    recycling = TokenRecycling(vocab_size=10)
    logits = np.arange(8, 0, -1, dtype=np.float32)[None]
    recycling.observe([2], np.array([[3, 4, 5, 6, 7, 8, 9, 0]], np.int32), logits)
    rates = AcceptanceRates()

    def value(*drafters: object) -> float:
        tree = grow_tree(drafters, rates, text, max_nodes=8, least_value=NO_VALUE).tree
        return tree.values[tree.tokens.index(3)]

    both = value(NgramLookup(), recycling)
    assert both > max(value(NgramLookup()), value(recycling))


def test_rates_follow_what_happens() -> None:
    rates = AcceptanceRates()
    assert rates.rate("kind", 0.3) == 0.3
    for _ in range(200):
        rates.observe("kind", accepted=True)
    assert rates.rate("kind", 0.3) > 0.9
    for _ in range(100):
        rates.observe("kind", accepted=False)
    assert rates.rate("kind", 0.3) < 0.1
    assert rates.rate("other", 0.3) == 0.3
