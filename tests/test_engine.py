"""The engine with a scripted model: its answers, its schedule, many callers at once."""

import itertools
import threading
import time

import numpy as np
import pytest

from slipstream.runtime.engine.scheduler import PrefillPace
from support.scripted_model import END, VOCAB_SIZE, ScriptedEngine, text_of, wait_until

pytestmark = pytest.mark.usefixtures("never_hangs")


def test_a_generation_counts_on(eight: ScriptedEngine) -> None:
    stream = eight.stream([5, 6, 7], max_length=13)
    pieces = list(stream)
    done = stream.completion
    assert done.token_ids == tuple(range(8, 18))[:10]
    assert done.text == text_of(range(8, 18)) == "".join(piece.text for piece in pieces)
    assert [token for piece in pieces for token in piece.token_ids] == list(done.token_ids)
    assert done.finish_reason == "length"
    counts = {"prompt_tokens": 3, "reused_tokens": 0, "steps": 10, "seed": 0}
    gpu = {"link_bytes": 0, "vram_bytes": 0, "streamed_tokens": 0, "streaming_rows": None}
    assert done.stats == {**counts, **gpu}
    assert done.timings.prefill_tokens == 3
    assert done.timings.decode_tokens == 9  # the last token is not fed back
    assert done.timings.prefill_s > 0
    assert done.timings.decode_s > 0


@pytest.mark.parametrize(
    ("options", "text", "num_tokens"),
    [
        ({"stop": "13 "}, text_of(range(8, 13)), 6),
        ({"stop": ("3 1",)}, text_of(range(8, 13)) + "1", 7),
        ({"stop": 12}, text_of(range(8, 12)), 4),
        ({"stop": (400, "nothing", 9)}, text_of([8]), 1),
        ({"stop": "8"}, "", 1),
    ],
)
def test_stops(
    eight: ScriptedEngine, options: dict[str, object], text: str, num_tokens: int
) -> None:
    """A stop string ends the text before it; its tokens are counted. A stop id is no token."""
    stream = eight.stream([7], max_length=60, **options)
    assert "".join(piece.text for piece in stream) == text
    assert stream.completion.text == text
    assert stream.completion.finish_reason == "stop"
    assert len(stream.completion.token_ids) == num_tokens


def test_the_end_token_stops_and_is_not_part_of_the_answer(eight: ScriptedEngine) -> None:
    done = eight.stream([VOCAB_SIZE - 4], max_length=60).completion
    assert done.token_ids == (VOCAB_SIZE - 3, VOCAB_SIZE - 2, VOCAB_SIZE - 1)
    assert done.finish_reason == "stop"
    assert END not in done.token_ids


def test_text_held_back_for_a_stop_string_comes_at_the_end(eight: ScriptedEngine) -> None:
    stream = eight.stream([7], max_length=4, stop="9 10 11 12")
    pieces = list(stream)
    assert "".join(piece.text for piece in pieces) == text_of([8, 9, 10])
    assert [piece.token_ids for piece in pieces] == [(8,), (9, 10)]


def test_logprobs_come_with_pieces_and_completion(eight: ScriptedEngine) -> None:
    stream = eight.stream([7], max_length=5, logprobs=2)
    pieces = list(stream)
    logprobs = stream.completion.logprobs
    assert [each.token_id for each in logprobs] == [8, 9, 10, 11]
    assert [each for piece in pieces for each in piece.logprobs] == list(logprobs)
    assert all(each.top_ids == (each.token_id, 0) for each in logprobs)
    assert eight.stream([7], max_length=5).completion.logprobs == ()


def test_rows_of_the_embedding_that_are_no_tokens_are_never_taken(eight: ScriptedEngine) -> None:
    done = eight.stream([1495], max_length=60, num_tokens=1500, logprobs=1).completion
    assert done.token_ids == (1496, 1497, 1498, 1499)  # 1500 would be next; of the rest, the first
    assert done.finish_reason == "stop"


def test_a_long_prompt_goes_in_chunks_while_others_decode(eight: ScriptedEngine) -> None:
    eight.model.gate.clear()
    short = eight.stream([1], max_length=20)
    wait_until(lambda: eight.model.steps == [1])
    long = eight.stream(list(range(1000, 1300)), max_length=302)
    eight.model.gate.set()
    assert long.completion.token_ids == (1300, 1301)
    assert short.completion.token_ids == tuple(range(2, 21))
    first_chunk = next(rows for rows in eight.model.steps if rows > 1)
    assert first_chunk == 64 + 1  # half a chunk, and the other's next token
    assert max(eight.model.steps) <= 257


def test_prefill_pace_follows_the_measured_speed() -> None:
    pace = PrefillPace(target_s=0.5)
    assert pace.rows == 128
    pace.observe(128, 0.01)
    assert pace.rows == 256  # at most twice as many at once
    pace.observe(256, 0.01)
    pace.observe(512, 0.01)
    assert pace.rows == 512
    pace.observe(1, 10.0)
    assert pace.rows == 512  # a decode step says nothing about prompts
    pace.observe(512, 4.0)
    assert pace.rows == 64
    pace.observe(64, 60.0)
    assert pace.rows == 32


def test_jobs_that_do_not_fit_wait_for_their_turn(eight: ScriptedEngine) -> None:
    """Each may grow to two pages and the cache has eight: four run at a time."""
    streams = [eight.stream([100 * i + 1], max_length=70) for i in range(10)]
    for i, stream in enumerate(streams):
        assert stream.completion.token_ids == tuple(range(100 * i + 2, 100 * i + 71))
    assert max(eight.model.steps) <= 4


@pytest.mark.parametrize("max_length", [65, 100, 127, 129])
def test_reserved_tokens_are_counted_in_whole_pages(max_length: int) -> None:
    """Sequences that do not fill their last pages need more of them than their tokens say."""
    scripted = ScriptedEngine(num_pages=7)
    streams = [
        scripted.stream([1] * (max_length - 60) + [100 * i], max_length=max_length)
        for i in range(1, 9)
    ]
    for i, stream in enumerate(streams, 1):
        assert stream.completion.token_ids[:3] == (100 * i + 1, 100 * i + 2, 100 * i + 3)
        assert stream.completion.finish_reason == "length"
    scripted.engine.close()


def test_a_large_job_is_not_overtaken_for_ever(eight: ScriptedEngine) -> None:
    eight.model.gate.clear()
    first = eight.stream([1], max_length=64)
    wait_until(lambda: eight.model.steps == [1])
    large = eight.stream([500] * 440, max_length=512)
    small = [eight.stream([100 + i], max_length=64) for i in range(20)]
    eight.model.gate.set()
    assert large.completion.finish_reason == "length"
    before = list(itertools.takewhile(lambda rows: rows < 64, eight.model.steps))
    assert before == [1] * 63  # only the first ran beside it
    for stream in (first, *small):
        assert len(stream.completion.token_ids) == 63


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200])
def test_scoring_gives_a_row_for_each_token(eight: ScriptedEngine, count: int) -> None:
    tokens = [i * 7 % VOCAB_SIZE for i in range(count)]
    decoding = eight.stream([1], max_length=60)
    logits = eight.score(tokens).result()
    assert logits.shape == (count, VOCAB_SIZE)
    assert logits.argmax(axis=1).tolist() == [token + 1 for token in tokens]
    assert decoding.completion.token_ids == tuple(range(2, 61))
    assert max(eight.model.steps) <= 65  # the logits of a step are bounded


def test_many_threads_that_start_stop_leave_and_score() -> None:
    """Whatever they do at the same time, each gets its own answer, and no page is lost."""
    scripted = ScriptedEngine(num_pages=12)
    problems: list[str] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(25):
            first = int(rng.integers(1, 1500))
            prompt = list(range(first, first + int(rng.integers(1, 150))))
            end = prompt[-1] + 1
            what = rng.integers(5)
            if what == 0:
                got = scripted.score(prompt).result().argmax(axis=1).tolist()
                if got != [token + 1 for token in prompt]:
                    problems.append(f"scores of {prompt}: {got}")
                continue
            length = len(prompt) + int(rng.integers(1, 40))
            stream = scripted.stream(prompt, max_length=length)
            if what == 1:
                next(stream, None)
                continue
            if what == 2:
                time.sleep(rng.random() * 0.003)
                stream.cancel()
            tokens = stream.completion.token_ids
            whole = tuple(range(end, end + length - len(prompt)))
            if tokens != whole[: len(tokens)] or (what > 2 and tokens != whole):
                problems.append(f"{prompt[0]}..{prompt[-1]}: {tokens}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    done = scripted.stream([3] * 660, max_length=12 * 64).completion  # takes every page
    assert len(done.token_ids) == 100
    scripted.engine.close()
