"""How generations end before their end: cancelled, left, interrupted, closed, failed."""

import gc
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from slipstream.runtime.completion import Completion
from slipstream.runtime.engine import TokenStream
from slipstream.runtime.errors import EngineError, OptionError
from slipstream.runtime.kv_cache import KVCache
from support.scripted_model import VOCAB_SIZE, ScriptedEngine, wait_until

pytestmark = pytest.mark.usefixtures("never_hangs")


def hold_in_step(scripted: ScriptedEngine, number: int) -> None:
    """Close the model's gate when it comes to this step, counted from 1."""

    def look() -> None:
        if len(scripted.model.steps) == number:
            scripted.model.gate.clear()

    scripted.model.before_step = look


def test_cancelled_between_two_steps(eight: ScriptedEngine) -> None:
    hold_in_step(eight, 4)
    stream = eight.stream([1], max_length=100)
    assert next(stream).text == "2 "
    wait_until(lambda: not eight.model.gate.is_set())
    stream.cancel()
    eight.model.gate.set()
    done = stream.completion
    assert done.finish_reason == "cancelled"
    assert done.token_ids == (2, 3, 4, 5)  # the step under way still counts
    assert done.text == "2 3 4 5 "
    time.sleep(0.05)
    assert len(eight.model.steps) == 4


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


def test_cancelled_in_the_middle_of_a_prompt(eight: ScriptedEngine) -> None:
    prompt = list(range(1000, 1400))
    eight.model.gate.clear()
    stream = eight.stream(prompt)
    wait_until(lambda: eight.model.steps == [128])
    stream.cancel()
    eight.model.gate.set()
    assert stream.completion.finish_reason == "cancelled"
    assert eight.model.steps == [128]
    assert stream.completion.timings.prefill_tokens == 128
    again = eight.stream(prompt, max_length=402).completion
    assert again.stats["reused_tokens"] == 128
    assert again.token_ids == (1400, 1401)


def test_a_stream_left_early_gives_its_place_back(eight: ScriptedEngine) -> None:
    for piece in eight.stream([1], max_length=512):
        assert piece.text == "2 "
        break
    # Nothing else may run beside this one, so it starts only when the first has gone.
    assert len(eight.stream([9] * 412, max_length=512).completion.token_ids) == 100
    hold_in_step(eight, len(eight.model.steps) + 2)
    with eight.stream([1], max_length=512) as stream:
        next(stream)
        wait_until(lambda: not eight.model.gate.is_set())
    eight.model.gate.set()
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


def refuses(scripted: ScriptedEngine) -> bool:
    """Whether the engine takes no more jobs."""
    try:
        scripted.stream([1])
    except EngineError as error:
        return "closed" in str(error)
    return False


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
