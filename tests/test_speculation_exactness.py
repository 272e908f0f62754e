"""Texts have the target's distribution through real drafting: growth, cuts, pauses and the walk."""

import functools
from collections.abc import Callable

import numpy as np
import pytest

from slipstream.runtime.sampling import Sampler, SamplingOptions
from slipstream.runtime.speculation import ROOT, DraftTree, SpeculationState, speculator
from slipstream.runtime.speculation.acceptance import POLICIES
from slipstream.runtime.speculation.accepting_sampler import AcceptingSampler
from slipstream.runtime.speculation.model_drafter import ModelDrafter
from slipstream.runtime.speculation.sampled_drafter import SampledDrafter
from slipstream.runtime.speculation.tree_growth import TreeGrowth
from support.chi_square import chi_square_p
from support.scripted_chain import (
    TARGET,
    VOCAB_SIZE,
    Likeliest,
    ScriptedDraft,
    chain_state,
    written,
)

LEAST_P = 0.001
NUM_TEXTS, LENGTH = 70, 400
# What follows depends on two tokens, so on the drafted path.
OPTIONS = SamplingOptions(temperature=0.9, top_k=4, presence_penalty=0.7, repeat_last_n=2)

Breaking = Callable[[AcceptingSampler, DraftTree], None]


def as_it_is(sampler: AcceptingSampler, tree: DraftTree) -> None:
    pass


def without_what_was_cut(sampler: AcceptingSampler, tree: DraftTree) -> None:
    """Chooses among the drawn tokens that are in the tree."""
    nodes = paths(tree)
    sampler._drawn = {
        path: tuple(each for each in drawn if (*path, each.token) in nodes)
        for path, drawn in sampler._drawn.items()
    }


def forgetful(sampler: AcceptingSampler, tree: DraftTree) -> None:
    """Draws anew at places that the step does not verify."""
    places = paths(tree) | {()} if tree else set()
    sampler._drawn = {path: each for path, each in sampler._drawn.items() if path in places}


def paths(tree: DraftTree) -> set[tuple[int, ...]]:
    """The tokens down to each node."""
    found: list[tuple[int, ...]] = []
    for token, parent in zip(tree.tokens, tree.parents, strict=True):
        found.append((token,) if parent == ROOT else (*found[parent], token))
    return set(found)


def even_or_nothing(growth: TreeGrowth, state: SpeculationState, max_nodes: int) -> int:
    """A cut that depends on what was drawn as much as it can: no tree with an odd first token."""
    growth.grow(min(6, max_nodes))
    tree = growth.tree(max_nodes)
    return len(tree) if tree and tree.tokens[0] % 2 == 0 else 0


def exact() -> np.ndarray:
    """(V, V, V): the probability of the third token after the first two."""
    sampler = Sampler(OPTIONS, seed=0, vocab_size=VOCAB_SIZE)
    probs = np.zeros((VOCAB_SIZE, VOCAB_SIZE, VOCAB_SIZE))
    for one in range(VOCAB_SIZE):
        for two in range(VOCAB_SIZE):
            p = sampler.distribution(TARGET[two], [one, two])
            probs[one, two, p.ids] = p.probs
    return probs


def p_value(name: str, breaking: Breaking = as_it_is) -> float:
    """Of a chi-square test of what follows each two tokens."""
    counts = np.zeros((VOCAB_SIZE, VOCAB_SIZE, VOCAB_SIZE), np.int64)
    state = chain_state()
    model = ModelDrafter(ScriptedDraft(), VOCAB_SIZE)
    accepted = 0
    for seed in range(NUM_TEXTS):
        sampler = AcceptingSampler(OPTIONS, POLICIES[name], seed=seed, vocab_size=VOCAB_SIZE)
        drafters = [Likeliest(), SampledDrafter(model, sampler)]
        text = written(sampler, drafters, state, LENGTH, functools.partial(breaking, sampler))
        tokens = np.array(text.tokens)
        np.add.at(counts, (tokens[:-2], tokens[1:-1], tokens[2:]), 1)
        accepted += text.events.get().stats["accepted_tokens"]
    assert accepted > 0.1 * counts.sum()
    return chi_square_p(counts.reshape(-1, VOCAB_SIZE), exact().reshape(-1, VOCAB_SIZE))


@pytest.mark.parametrize("name", POLICIES)
def test_texts_are_as_likely_as_without_drafts(name: str) -> None:
    assert p_value(name) > LEAST_P


@pytest.mark.parametrize("name", POLICIES)
def test_no_cut_makes_them_more_or_less_likely(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculator, "best_size", even_or_nothing)
    assert p_value(name) > LEAST_P


def test_it_is_seen_where_what_was_cut_is_left_out() -> None:
    assert p_value("rejection", without_what_was_cut) < LEAST_P


def test_it_is_seen_where_cut_places_are_drawn_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculator, "best_size", even_or_nothing)
    assert p_value("rejection", forgetful) < LEAST_P


def sampler_of(**options: object) -> AcceptingSampler:
    return AcceptingSampler(
        SamplingOptions.from_user(**options), POLICIES["rejection"], seed=1, vocab_size=VOCAB_SIZE
    )


def test_draws_wait_until_the_text_comes_by_or_leaves() -> None:
    sampler = sampler_of()
    logits = np.zeros(VOCAB_SIZE, np.float32)
    for path in ((), (2,), (3,), (2, 4)):
        sampler.draw([0, 1], path, logits)
    kept, left = sampler.drawn((2, 4)), sampler.drawn((3,))
    assert kept
    assert left
    logits[2] = 50.0
    assert sampler.sample(logits, [0, 1]) == 2
    assert sampler.drawn((4,)) == kept
    assert sampler.drawn((3,)) is sampler.drawn((2, 4)) is None


@pytest.mark.parametrize(
    ("size", "value", "options"),
    [
        (VOCAB_SIZE, np.nan, {}),
        (VOCAB_SIZE, np.inf, {}),
        (2, 0.0, {"logit_bias": {0: -np.inf, 1: -np.inf}}),
    ],
)
def test_nothing_is_drawn_from_a_draft_that_knows_nothing(
    size: int, value: float, options: dict[str, object]
) -> None:
    sampler = sampler_of(**options)
    assert sampler.draw([0], (), np.full(size, value, np.float32)) == ()
    assert sampler.drawn(()) == ()
    assert sampler.sample(np.arange(VOCAB_SIZE, dtype=np.float32), [0]) in range(VOCAB_SIZE)


@pytest.mark.parametrize("size", [2, VOCAB_SIZE, VOCAB_SIZE + 3])
def test_tokens_that_either_model_has_not_are_not_drawn(size: int) -> None:
    drawn = sampler_of(top_p=1.0).draw([0], (), np.arange(size, dtype=np.float32) / 10)
    assert {token for token, _ in drawn} <= set(range(min(size, VOCAB_SIZE)))
    assert len(drawn) == min(4, size)
