"""The engine with a scripted model: scheduling, waiting, stopping, failing, reusing."""

import gc
import itertools
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from slipstream.runtime.completion import Completion
from slipstream.runtime.engine import TokenStream
from slipstream.runtime.engine.scheduler import PrefillPace
from slipstream.runtime.errors import EngineError, OptionError
from slipstream.runtime.kv_cache import KVCache
from support.scripted_model import END, VOCAB_SIZE, ScriptedEngine, text_of
from support.time_limit import time_limit


@pytest.fixture(autouse=True)
def _never_hangs() -> Iterator[None]:
    with time_limit(60):
        yield


@pytest.fixture
def eight() -> Iterator[ScriptedEngine]:
    """An engine whose cache has eight pages of 64 tokens."""
    scripted = ScriptedEngine()
    yield scripted
    scripted.model.gate.set()
    scripted.engine.close()


def refuses(scripted: ScriptedEngine) -> bool:
    """Whether the engine takes no more jobs."""
    try:
        scripted.stream([1])
    except EngineError as error:
        return "closed" in str(error)
    return False


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():  # the time limit ends it
        time.sleep(0.001)


# One generation --------------------------------------------------------------------------


def test_a_generation_counts_on(eight: ScriptedEngine) -> None:
    stream = eight.stream([5, 6, 7], max_length=13)
    pieces = list(stream)
    done = stream.completion
    assert done.token_ids == tuple(range(8, 18))[:10]
    assert done.text == text_of(range(8, 18)) == "".join(piece.text for piece in pieces)
    assert [token for piece in pieces for token in piece.token_ids] == list(done.token_ids)
    assert done.finish_reason == "length"
    assert done.stats == {"prompt_tokens": 3, "reused_tokens": 0, "steps": 10, "seed": 0}
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


# Scheduling ------------------------------------------------------------------------------


def test_a_long_prompt_goes_in_chunks_while_others_decode(eight: ScriptedEngine) -> None:
    eight.model.gate.clear()
    short = eight.stream([1], max_length=20)
    wait_until(lambda: eight.model.steps == [1])
    long = eight.stream(list(range(1000, 1300)), max_length=302)
    eight.model.gate.set()
    assert long.completion.token_ids == (1300, 1301)
    assert short.completion.token_ids == tuple(range(2, 21))
    first_chunk = next(rows for rows in eight.model.steps if rows > 1)
    assert first_chunk == 128 + 1  # the chunk, and the other's next token
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


# Stopping --------------------------------------------------------------------------------


def test_cancelled_between_two_steps(eight: ScriptedEngine) -> None:
    stream = eight.stream([1], max_length=100)
    assert next(stream).text == "2 "
    eight.model.gate.clear()
    wait_until(lambda: len(eight.model.steps) > 1)
    stream.cancel()
    eight.model.gate.set()
    done = stream.completion
    assert done.finish_reason == "cancelled"
    assert 1 <= len(done.token_ids) < 99
    assert done.text == text_of(list(done.token_ids))
    steps = len(eight.model.steps)
    time.sleep(0.05)
    assert len(eight.model.steps) == steps  # nothing runs any more


def test_cancelled_before_it_started(eight: ScriptedEngine) -> None:
    eight.model.gate.clear()
    running = eight.stream([1], max_length=500)
    wait_until(lambda: eight.model.steps == [1])
    waiting = eight.stream([7] * 450, max_length=512)
    waiting.cancel()
    eight.model.gate.set()
    done = waiting.completion
    assert (done.finish_reason, done.token_ids, done.text) == ("cancelled", (), "")
    assert done.stats["steps"] == 0
    assert len(running.completion.token_ids) == 100


def test_a_stream_left_early_gives_its_place_back(eight: ScriptedEngine) -> None:
    for piece in eight.stream([1], max_length=512):
        assert piece.text == "2 "
        break
    # Nothing else may run beside this one, so it starts only when the first has gone.
    assert len(eight.stream([9] * 412, max_length=512).completion.token_ids) == 100
    with eight.stream([1], max_length=512) as stream:
        next(stream)
    assert stream.completion.finish_reason == "cancelled"


def test_a_stream_after_its_end(eight: ScriptedEngine) -> None:
    stream = eight.stream([1], max_length=4)
    assert len(list(stream)) == 3
    assert list(stream) == []
    with pytest.raises(StopIteration):
        next(stream)
    first = stream.completion
    stream.cancel()
    assert stream.completion is first
    assert first.finish_reason == "length"


def test_completion_alone_takes_all_pieces(eight: ScriptedEngine) -> None:
    stream = eight.stream([1], max_length=4)
    assert stream.completion.text == "2 3 4 "
    assert list(stream) == []


def test_threads_that_share_a_stream_all_hear_of_its_end(eight: ScriptedEngine) -> None:
    def completion_of(stream: TokenStream) -> Completion:
        return stream.completion

    with ThreadPoolExecutor(4) as threads:
        for _ in range(20):
            stream = eight.stream([1], max_length=30)
            heard = list(threads.map(completion_of, [stream] * 4))
            assert heard == [stream.completion] * 4


def test_an_interrupted_wait_stops_the_generation(eight: ScriptedEngine) -> None:
    """Ctrl-C in `completion`; the traceback that keeps the stream alive must not keep it going."""
    eight.model.gate.clear()
    stream = eight.stream([1], max_length=100)
    main = threading.main_thread().ident
    threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        _ = stream.completion
    eight.model.gate.set()
    assert stream.completion.finish_reason == "cancelled"


def test_interrupted_scoring_is_stopped(eight: ScriptedEngine) -> None:
    eight.model.gate.clear()
    job = eight.score(list(range(300)))
    main = threading.main_thread().ident
    threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        job.result()
    eight.model.gate.set()
    with pytest.raises(EngineError, match="cancelled"):
        job.result()
    assert eight.model.steps == [64]


def test_close_cancels_what_runs_and_what_waits(eight: ScriptedEngine) -> None:
    eight.model.gate.clear()
    running = eight.stream([1], max_length=400)
    wait_until(lambda: eight.model.steps == [1])
    waiting = eight.stream([2] * 150, max_length=400)
    scoring = eight.score([3, 4])
    closing = threading.Thread(target=eight.engine.close)
    closing.start()
    wait_until(lambda: refuses(eight))
    eight.model.gate.set()
    closing.join(30)
    assert not closing.is_alive()
    assert running.completion.finish_reason == "cancelled"
    assert waiting.completion.finish_reason == "cancelled"
    with pytest.raises(EngineError, match="cancelled"):
        scoring.result()
    eight.engine.close()


def test_close_from_the_engines_own_thread_does_not_wait_for_itself(eight: ScriptedEngine) -> None:
    eight.model.before_step = eight.engine.close
    assert eight.stream([1]).completion.finish_reason == "cancelled"


def test_close_waits_no_longer_than_asked(eight: ScriptedEngine) -> None:
    eight.model.gate.clear()
    stream = eight.stream([1])
    wait_until(lambda: eight.model.steps == [1])
    start = time.monotonic()
    eight.engine.close(timeout_s=0.1)
    assert time.monotonic() - start < 5
    eight.model.gate.set()
    assert stream.completion.finish_reason == "cancelled"


def test_a_closed_engine_lets_go_of_model_and_cache() -> None:
    scripted = ScriptedEngine()
    assert scripted.stream([1], max_length=5).completion.text
    model, cache = weakref.ref(scripted.model), weakref.ref(scripted.cache)
    del scripted.model, scripted.cache
    assert model() is not None
    scripted.engine.close()
    gc.collect()
    assert model() is None
    assert cache() is None


# Failing ---------------------------------------------------------------------------------


def assert_no_page_is_lost(scripted: ScriptedEngine) -> None:
    """A job that needs all eight succeeds: they are free, or hold what may be forgotten."""
    done = scripted.stream([3] * 412, max_length=512).completion
    assert len(done.token_ids) == 100


def test_an_error_in_a_step_fails_its_jobs_and_no_others(eight: ScriptedEngine) -> None:
    def fail() -> None:
        eight.model.before_step = None
        raise ZeroDivisionError("a bug")

    eight.model.gate.clear()
    first = eight.stream([1], max_length=50)
    wait_until(lambda: eight.model.steps == [1])
    second = eight.stream([100] * 40, max_length=80)
    eight.model.before_step = fail
    eight.model.gate.set()
    for stream in (first, second):
        with pytest.raises(EngineError, match="a bug") as caught:
            list(stream)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        with pytest.raises(EngineError, match="a bug"):
            next(stream)
        with pytest.raises(EngineError, match="a bug"):
            _ = stream.completion
    assert eight.stream([1], max_length=5).completion.text == "2 3 4 5 "
    assert_no_page_is_lost(eight)


def test_an_error_of_one_job_leaves_the_others_alone(eight: ScriptedEngine) -> None:
    """A sampler that may take no token fails its own request."""
    eight.model.gate.clear()
    sound = eight.stream([1], max_length=50)
    wait_until(lambda: eight.model.steps == [1])
    banned = dict.fromkeys(range(VOCAB_SIZE), -np.inf)
    broken = eight.stream([5], max_length=50, logit_bias=banned)
    eight.model.gate.set()
    with pytest.raises(OptionError, match="ban fewer tokens"):
        list(broken)
    assert sound.completion.token_ids == tuple(range(2, 51))
    assert_no_page_is_lost(eight)


@pytest.mark.parametrize("name", ["open", "fork"])
def test_an_error_while_a_job_starts_is_heard(
    eight: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    prompt = list(range(1, 30))
    assert eight.stream(prompt, max_length=110).completion.text

    def fail(*_: object) -> int:
        monkeypatch.undo()
        raise MemoryError("no room")

    monkeypatch.setattr(KVCache, name, fail)
    # A few shared tokens are copied from the first prompt, none are a sequence of their own.
    broken = eight.stream([*prompt[:10], 50] if name == "fork" else [70], max_length=20)
    with pytest.raises(EngineError, match="no room"):
        list(broken)
    assert eight.stream([1], max_length=5).completion.text == "2 3 4 5 "
    assert_no_page_is_lost(eight)


def test_a_job_too_large_for_the_cache_fails_and_the_engine_lives(eight: ScriptedEngine) -> None:
    with pytest.raises(EngineError, match="pages needed"):
        _ = eight.stream([1] * 600, max_length=700).completion
    assert eight.stream([1], max_length=5).completion.text == "2 3 4 5 "


# Reusing ---------------------------------------------------------------------------------


def test_a_prompt_with_a_known_beginning_computes_the_rest(eight: ScriptedEngine) -> None:
    prompt = list(range(100, 180))
    first = eight.stream(prompt, max_length=90).completion
    assert first.stats["reused_tokens"] == 0
    longer = [*prompt, *first.token_ids, 7, 8]
    eight.model.steps.clear()
    second = eight.stream(longer, max_length=100).completion
    assert second.stats["reused_tokens"] == 89  # the last token was never fed
    assert eight.model.steps[0] == len(longer) - 89
    assert second.timings.prefill_tokens == 3
    assert second.token_ids[0] == 9


def test_the_same_prompt_again_computes_its_last_token(eight: ScriptedEngine) -> None:
    prompt = list(range(100, 180))
    first = eight.stream(prompt, max_length=90).completion
    second = eight.stream(prompt, max_length=90).completion
    assert second.stats["reused_tokens"] == len(prompt) - 1
    assert second.token_ids == first.token_ids


def test_a_short_shared_beginning_is_copied_and_the_long_one_stays(eight: ScriptedEngine) -> None:
    system = list(range(100, 130))
    long = [*system, *range(1000, 1100)]
    assert eight.stream(long, max_length=135).completion.text
    other = eight.stream([*system, 7], max_length=40).completion
    assert other.stats["reused_tokens"] == 30
    again = eight.stream([*long, 5], max_length=140).completion
    assert again.stats["reused_tokens"] == 130


def test_known_beginnings_are_forgotten_for_new_prompts(eight: ScriptedEngine) -> None:
    """Twenty times the cache, one after another; the oldest go first."""
    prompts = [[1000 + i] * 120 for i in range(80)]
    for prompt in prompts:
        assert eight.stream(prompt, max_length=123).completion.finish_reason == "length"
    assert eight.stream(prompts[-1], max_length=123).completion.stats["reused_tokens"] == 119
    assert eight.stream(prompts[0], max_length=123).completion.stats["reused_tokens"] == 0


def test_what_is_in_use_is_not_reused(eight: ScriptedEngine) -> None:
    eight.model.gate.clear()
    first = eight.stream([1, 2, 3], max_length=60)
    wait_until(lambda: eight.model.steps == [3])
    second = eight.stream([1, 2, 3], max_length=60)
    eight.model.gate.set()
    assert second.completion.stats["reused_tokens"] == 0
    assert first.completion.token_ids == second.completion.token_ids


# Scoring ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200])
def test_scoring_gives_a_row_for_each_token(eight: ScriptedEngine, count: int) -> None:
    tokens = [i * 7 % VOCAB_SIZE for i in range(count)]
    decoding = eight.stream([1], max_length=60)
    logits = eight.score(tokens).result()
    assert logits.shape == (count, VOCAB_SIZE)
    assert logits.argmax(axis=1).tolist() == [token + 1 for token in tokens]
    assert decoding.completion.token_ids == tuple(range(2, 61))
    assert max(eight.model.steps) <= 65  # the logits of a step are bounded


def test_scoring_computes_everything_but_leaves_it_for_others(eight: ScriptedEngine) -> None:
    tokens = list(range(100, 180))
    assert eight.stream(tokens, max_length=82).completion.text
    eight.model.steps.clear()
    eight.score(tokens).result()
    assert sum(eight.model.steps) == len(tokens)
    assert eight.stream(tokens, max_length=82).completion.stats["reused_tokens"] == 79


# All at once -----------------------------------------------------------------------------


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
