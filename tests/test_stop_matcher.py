"""Stop strings in streamed text against a search of the whole text."""

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from slipstream.runtime.errors import OptionError
from slipstream.runtime.sampling import StopMatcher


def naive_stop(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The text before the stop string that is complete first, and that stop string."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


def naive_held(text: str, stops: list[str]) -> int:
    """How many last characters of `text` could be the beginning of a stop string."""
    beginnings = {stop[:length] for stop in stops for length in range(1, len(stop))}
    return max((len(one) for one in beginnings if text.endswith(one)), default=0)


# Three letters, so that stop strings overlap each other, themselves and the text.
LETTERS = st.text("abc", max_size=30)
STOPS = st.lists(st.text("abc", min_size=1, max_size=6), max_size=4)


@settings(max_examples=500, deadline=None)
@given(pieces=st.lists(st.text("abc", max_size=5), max_size=12), stops=STOPS)
@example(pieces=["abcd"], stops=["abcd", "c"])
@example(pieces=["aab", "aabaaab"], stops=["aabaaab"])
@example(pieces=["ab", "c"], stops=["abc", "bc", "c"])
def test_equal_to_a_search_of_the_whole_text(pieces: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    want, stop = naive_stop("".join(pieces), stops)
    emitted = seen = ""
    for piece in pieces:
        emitted, seen = emitted + matcher.push(piece), seen + piece
        assert matcher.matched == naive_stop(seen, stops)[1]
        if matcher.matched is not None:
            break
        # Everything is out but the longest possible beginning of a stop string.
        assert len(seen) - len(emitted) == naive_held(seen, stops)
    assert emitted + matcher.flush() == want
    assert matcher.matched == stop


@settings(max_examples=200, deadline=None)
@given(text=LETTERS, stops=STOPS)
def test_one_character_at_a_time_equals_all_at_once(text: str, stops: list[str]) -> None:
    whole, split = StopMatcher(stops), StopMatcher(stops)
    at_once = whole.push(text) + whole.flush()
    assert "".join(map(split.push, text)) + split.flush() == at_once


def test_no_stop_strings_hold_nothing_back() -> None:
    matcher = StopMatcher([])
    assert matcher.push("anything") == "anything"
    assert matcher.flush() == ""


def test_only_a_possible_beginning_is_held_back() -> None:
    matcher = StopMatcher(["</s>", "<end>"])
    assert matcher.push("a < b <") == "a < b "
    assert matcher.push("e") == ""
    assert matcher.push("m>") == "<em>"
    assert matcher.push("<en") == ""
    assert matcher.push("d> more") == ""
    assert matcher.matched == "<end>"
    assert matcher.flush() == ""


def test_after_a_match_nothing_comes_out() -> None:
    matcher = StopMatcher(["x"])
    assert matcher.push("abxcd") == "ab"
    assert matcher.push("more") == ""
    assert matcher.flush() == ""


def test_flush_gives_the_held_text_once() -> None:
    matcher = StopMatcher(["stop"])
    assert matcher.push("I sto") == "I "
    assert matcher.flush() == "sto"
    assert matcher.flush() == ""


def test_stop_strings_of_any_script() -> None:
    matcher = StopMatcher(["終わり", "🛑🛑"])
    assert matcher.push("これで終わ") == "これで"
    assert matcher.push("🛑") == "終わ"
    assert matcher.push("🛑") == ""


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(OptionError, match="at least one character"):
        StopMatcher(["a", ""])
