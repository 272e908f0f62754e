"""Sampling options: defaults, accepted spellings, and one clear error for everything else."""

import dataclasses
import math
import pickle
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from slipstream.runtime.errors import OptionError
from slipstream.runtime.sampling import SamplingOptions

BIGGEST_SEED = 2**63 - 1

ACCEPTED = [
    ("max_tokens", 1, 1),
    ("max_tokens", np.int32(7), 7),
    ("temperature", 0, 0.0),
    ("temperature", 5, 5.0),
    ("temperature", np.float32(0.5), 0.5),
    ("temperature", Fraction(1, 4), 0.25),
    ("top_k", 0, 0),
    ("top_k", 10**9, 10**9),
    ("top_p", 1, 1.0),
    ("top_p", 1e-9, 1e-9),
    ("min_p", 0, 0.0),
    ("min_p", 0.999, 0.999),
    ("typical_p", 0.2, 0.2),
    ("repeat_penalty", 1e-3, 1e-3),
    ("repeat_last_n", -1, -1),
    ("repeat_last_n", 0, 0),
    ("presence_penalty", -2, -2.0),
    ("frequency_penalty", 2.0, 2.0),
    ("logit_bias", {}, {}),
    ("logit_bias", {3: -100, 4: 2.5}, {3: -100.0, 4: 2.5}),
    ("logit_bias", {"50256": -math.inf}, {50256: -math.inf}),
    ("logit_bias", {np.int64(8): np.float32(-np.inf)}, {8: -math.inf}),
    ("stop", "END", ("END",)),
    ("stop", 7, (7,)),
    ("stop", ["a", 7, "a", np.int32(7), "b"], ("a", 7, "b")),
    ("stop", (), ()),
    ("seed", 0, 0),
    ("seed", BIGGEST_SEED, BIGGEST_SEED),
    ("logprobs", 0, 0),
    ("logprobs", 20, 20),
]

REJECTED = [
    ("max_tokens", 0, "max_tokens must be a whole number of at least 1 or None (None is until"),
    ("max_tokens", -5, "got -5"),
    ("max_tokens", 2.0, "got 2.0"),
    ("temperature", -0.1, "temperature must be a finite number of at least 0 (0 is greedy)"),
    ("temperature", math.nan, "got nan"),
    ("temperature", math.inf, "got inf"),
    ("temperature", 10**400, "temperature must be a finite number"),
    ("temperature", True, "got True"),
    ("temperature", np.True_, "got np.True_ (bool"),
    ("temperature", "0.7", "got '0.7'"),
    ("temperature", Decimal("0.7"), "(Decimal)"),
    ("temperature", 1j, "(complex)"),
    ("temperature", [0.7], "(list)"),
    ("top_k", -1, "top_k must be a whole number of at least 0 (0 turns it off), got -1"),
    ("top_k", 40.0, "got 40.0"),
    ("top_k", True, "got True"),
    ("top_p", 0, "top_p must be a finite number above 0 and at most 1 (1 turns it off), got 0"),
    ("top_p", 1.0001, "got 1.0001"),
    ("min_p", 1, "min_p must be a finite number of at least 0 and below 1 (0 turns it off), got 1"),
    ("min_p", -1e-9, "got -1e-09"),
    ("typical_p", 0.0, "typical_p must be a finite number above 0 and at most 1"),
    ("repeat_penalty", 0, "repeat_penalty must be a finite number above 0 (1 turns it off), got 0"),
    ("repeat_last_n", -2, "repeat_last_n must be a whole number of at least -1"),
    (
        "presence_penalty",
        2.1,
        "presence_penalty must be a finite number of at least -2 and at most",
    ),
    ("frequency_penalty", -2.1, "got -2.1"),
    ("logit_bias", [(3, 1.0)], "logit_bias must map token ids to numbers, as in {42: -1.5}, got"),
    ("logit_bias", {-1: 0.0}, "a key of logit_bias must be a whole number of at least 0, got -1"),
    ("logit_bias", {"cat": 0.0}, "got 'cat'"),
    ("logit_bias", {"²": 0.0}, "got '²'"),
    ("logit_bias", {"9" * 5000: 0.0}, "a key of logit_bias must be a whole number"),
    ("logit_bias", {2.0: 0.0}, "got 2.0"),
    ("logit_bias", {True: 0.0}, "got True"),
    ("logit_bias", {5: math.nan}, "logit_bias[5] must be a finite number (or -inf, which bans the"),
    ("logit_bias", {5: math.inf}, "got inf"),
    ("logit_bias", {5: "1"}, "got '1'"),
    ("logit_bias", {5: None}, "got None"),
    ("logit_bias", {5: 1.0, "5": 2.0}, "logit_bias names token 5 twice"),
    ("stop", "", "stop must be a non-empty string, a token id of at least 0, or a sequence of"),
    ("stop", ["a", ""], "got ''"),
    ("stop", -1, "got -1"),
    ("stop", [True], "got True"),
    ("stop", [None], "got None"),
    ("stop", 1.5, "got 1.5"),
    ("stop", b"END", "(bytes)"),
    ("stop", {"END": 1}, "(dict)"),
    ("seed", -1, f"seed must be a whole number of at least 0 and at most {BIGGEST_SEED} or None"),
    ("seed", BIGGEST_SEED + 1, f"got {BIGGEST_SEED + 1}"),
    ("seed", 1.0, "got 1.0"),
    ("logprobs", True, "logprobs must be a whole number of at least 0 and at most 20 or None"),
    ("logprobs", 21, "got 21"),
]


def test_defaults_are_those_of_llama_cpp() -> None:
    assert dataclasses.asdict(SamplingOptions()) == {
        "max_tokens": None,
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.95,
        "min_p": 0.05,
        "typical_p": 1.0,
        "repeat_penalty": 1.0,
        "repeat_last_n": 64,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "logit_bias": {},
        "stop": (),
        "seed": None,
        "logprobs": None,
    }


@pytest.mark.parametrize(("name", "value", "canonical"), ACCEPTED)
def test_accepted_values_become_canonical(name: str, value: object, canonical: object) -> None:
    kept = getattr(SamplingOptions.from_user(**{name: value}), name)
    assert kept == canonical
    assert type(kept) is type(canonical)


def test_members_are_canonical_too() -> None:
    options = SamplingOptions.from_user(logit_bias={np.int64(8): 1}, stop=[np.int64(3), "a"])
    assert [(type(key), type(value)) for key, value in options.logit_bias.items()] == [(int, float)]
    assert [type(one) for one in options.stop] == [int, str]


@pytest.mark.parametrize(("name", "value", "message"), REJECTED)
def test_rejected_values_say_name_range_and_value(name: str, value: object, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        SamplingOptions.from_user(**{name: value})
    assert message in str(caught.value)
    assert name in str(caught.value)
    with pytest.raises(OptionError):
        SamplingOptions(**{name: value})


def test_every_option_is_in_both_tables() -> None:
    names = {field.name for field in dataclasses.fields(SamplingOptions)}
    assert {name for name, *_ in ACCEPTED} == {name for name, *_ in REJECTED} == names


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("temprature", "did you mean temperature?"),
        ("repetition_penalty", "did you mean repeat_penalty?"),
        ("max_new_tokens", "did you mean max_tokens?"),
        ("topk", "did you mean top_k?"),
        ("mirostat", "there are: max_tokens, temperature,"),
        ("cls", "there are: max_tokens, temperature,"),
    ],
)
def test_unknown_names_suggest_a_close_one(name: str, advice: str) -> None:
    with pytest.raises(OptionError) as caught:
        SamplingOptions.from_user(**{name: 1})
    assert str(caught.value).startswith(f"unknown sampling option '{name}'; {advice}")


def test_none_from_a_user_leaves_the_default() -> None:
    names = [field.name for field in dataclasses.fields(SamplingOptions)]
    assert SamplingOptions.from_user(**dict.fromkeys(names)) == SamplingOptions()
    with pytest.raises(OptionError, match="got None"):
        SamplingOptions(temperature=None)


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(OptionError) as caught:
        SamplingOptions.from_user(temperature="hot" * 10_000)
    assert len(str(caught.value)) < 200


def test_options_are_frozen_copied_and_picklable() -> None:
    bias, stops = {1: 2.0}, ["a"]
    options = SamplingOptions.from_user(logit_bias=bias, stop=stops)
    bias[2] = 3.0
    stops.append("b")
    assert (options.logit_bias, options.stop) == ({1: 2.0}, ("a",))
    assert pickle.loads(pickle.dumps(options)) == options
    assert dataclasses.replace(options, top_k=5).logit_bias == {1: 2.0}
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.top_k = 3


def test_stop_is_told_apart_into_strings_and_ids() -> None:
    options = SamplingOptions.from_user(stop=["a", 3, "b", 0])
    assert options.stop_strings == ("a", "b")
    assert options.stop_ids == {3, 0}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, False),
        ({"repeat_penalty": 1.1}, True),
        ({"presence_penalty": -1}, True),
        ({"frequency_penalty": 0.5}, True),
        ({"frequency_penalty": 0.5, "repeat_last_n": 0}, False),
    ],
)
def test_has_penalties(given: dict[str, float], expected: bool) -> None:
    assert SamplingOptions.from_user(**given).has_penalties is expected
