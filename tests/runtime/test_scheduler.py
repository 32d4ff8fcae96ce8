"""Streams whose work a scheduler does say what they say alone, however their audio comes, and disturb no other."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from runtime import ClosedError, Event, Final, FullError, InputError, Partial, Recognizer, Stream
from runtime.backends import StepResult
from runtime.errors import CudaError
from tests.runtime.many import STREAMS, TIMEOUT_S, Rows, loop
from tests.runtime.rig import Host, Rig, windows

AUDIO = np.concatenate([window for window, _ in windows(40)])
LOUD = np.float32(3.5)


def finish(*threads: threading.Thread) -> None:
    for each in threads:
        each.join(TIMEOUT_S)
    assert not any(each.is_alive() for each in threads), "it goes on"


def wait_for_job(stream: Stream) -> None:
    assert stream._inbox
    while not stream._inbox._jobs:
        pass


def speech(seed: int) -> list[np.ndarray]:
    """Utterances cut into frames of any length."""
    generator = np.random.default_rng(seed)
    return [np.roll(AUDIO, int(generator.integers(999)))[: int(generator.integers(1, 900))] for _ in range(3)]


def frames(samples: np.ndarray, seed: int) -> list[np.ndarray]:
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(samples) + 1, 40))
    return np.split(samples, cuts)


def said(stream: Stream, seed: int) -> list[Event]:
    """What a caller hears who waits for each push."""
    events: list[Event] = []
    for samples in speech(seed):
        for frame in frames(samples, seed):
            events += stream.push(frame)
        events.append(stream.end_utterance())
    return events


async def heard(stream: Stream, seed: int) -> list[Event]:
    """What a task hears while another feeds the same."""
    events: list[Event] = []

    async def listen() -> None:
        async for event in stream:
            events.append(event)
            if sum(isinstance(event, Final) for event in events) == len(speech(seed)):
                return

    listening = asyncio.create_task(listen())
    for samples in speech(seed):
        for frame in frames(samples, seed):
            stream.feed(frame)
            frame[:] = np.nan  # a caller may use its array again
            await asyncio.sleep(0)
        stream.feed_end()
    await listening
    return events


def test_pushes_from_many_threads(together: Recognizer, apart: Recognizer, rows: Rows) -> None:
    expected = [said(apart.stream(early="off"), seed) for seed in range(STREAMS)]
    streams = [together.stream(early="off") for _ in range(STREAMS)]
    with ThreadPoolExecutor(STREAMS) as threads:
        assert list(threads.map(said, streams, range(STREAMS))) == expected
    print(f"{len(rows.runs)} runs of up to {max(rows.runs)} streams")
    assert max(rows.runs) > 1, "none ran together"


def test_tasks_of_an_event_loop(together: Recognizer, apart: Recognizer, rows: Rows) -> None:
    expected = [said(apart.stream(early="off"), seed) for seed in range(STREAMS)]

    async def all_of_them() -> list[list[Event]]:
        streams = [together.stream(early="off") for _ in range(STREAMS)]
        return await asyncio.gather(*(heard(stream, seed) for seed, stream in enumerate(streams)))

    assert loop(all_of_them()) == expected
    assert max(rows.runs) > 1, "none ran together"


def test_feeding_where_each_stream_runs_apart(apart: Recognizer) -> None:
    expected = said(apart.stream(early="off"), 5)
    stream = apart.stream(early="off")
    assert [event.at(0.0) for event in said(stream, 5)] == [event.at(0.0) for event in expected]
    assert [event.at(0.0) for event in loop(heard(stream, 5))] == [event.at(0.0) for event in expected]
    assert said(apart.stream(early="off"), 5) == expected


def test_one_with_much_audio_delays_nobody(together: Recognizer, apart: Recognizer, rows: Rows) -> None:
    expected = apart.stream(early="off").push(AUDIO[:60])
    rows.gate = threading.Event()
    greedy, other = together.stream(early="off"), together.stream(early="off")
    greedy.feed(AUDIO)
    assert rows.waits.wait(TIMEOUT_S)
    with ThreadPoolExecutor(1) as thread:
        pushing = thread.submit(other.push, AUDIO[:60])
        wait_for_job(other)
        rows.gate.set()
        assert pushing.result(TIMEOUT_S) == expected
    steps = len(AUDIO) // together.bundle.chunk_samples
    before = rows.runs.index(2)
    print(f"the other's first step ran with the {before + 1}th of {steps} of the one with much audio")
    assert before <= 2


def test_a_step_that_fails_alone(rig: Rig) -> None:
    """Where each stream runs apart it fails for nobody else."""

    class Picky(Host):
        def step(self, window: np.ndarray, valid: int, state: Any) -> StepResult:  # noqa: ANN401
            if (window == LOUD).any():
                raise CudaError("cudaGraphLaunch: it fell over")
            return super().step(window, valid, state)

    recognizer = Recognizer(rig.folder, backend=Picky())
    good, bad = recognizer.stream(early="off"), recognizer.stream(early="off")
    expected = said(recognizer.stream(early="off"), 4)

    async def both() -> list[Event]:
        hearing = asyncio.create_task(heard(good, 4))
        for _ in range(20):
            bad.feed(np.full(60, LOUD, np.float32))
            await asyncio.sleep(0)
        with pytest.raises(CudaError, match="fell over"):
            await bad.__anext__()
        return await hearing

    assert loop(both()) == expected


@pytest.mark.parametrize("fed", [False, True])
def test_a_run_that_fails(together: Recognizer, apart: Recognizer, rows: Rows, fed: bool) -> None:
    """All in it lose their utterance, and go on with the next; one that was not in it goes on with its own."""
    expected, half = said(apart.stream(early="off"), 1), len(AUDIO) // 2
    whole = [*(alone := apart.stream(early="off")).push(AUDIO), alone.end_utterance()]
    stream, resting = together.stream(early="off"), together.stream(early="off")
    begun = resting.push(AUDIO[:half])
    rows.fails = True
    if fed:
        stream.feed(AUDIO[:900])  # one piece: what comes behind one that failed is the next utterance's
        with pytest.raises(CudaError, match="fell over"):
            loop(stream.__anext__())
    else:
        with pytest.raises(CudaError, match="fell over"):
            stream.push(AUDIO)
    rows.fails = False
    assert [event.at(0.0) for event in said(stream, 1)] == [event.at(0.0) for event in expected]
    assert [*begun, *resting.push(AUDIO[half:]), resting.end_utterance()] == whole


def test_whoever_keeps_an_error_keeps_no_other_stream(together: Recognizer, rows: Rows) -> None:
    """A run fails for several at once: each has an error of its own, through which none of the others is held."""
    streams = [together.stream(early="off") for _ in range(3)]
    rows.gate, rows.fails = threading.Event(), True
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(streams[0].push, AUDIO)
        assert rows.waits.wait(TIMEOUT_S)
        others = [pool.submit(stream.push, AUDIO) for stream in streams[1:]]  # run together behind it
        for stream in streams[1:]:
            wait_for_job(stream)
        rows.gate.set()
        errors = [each.exception(TIMEOUT_S) for each in (first, *others)]
    assert [type(error) for error in errors] == [CudaError] * 3
    assert len({id(error) for error in errors}) == 3
    del streams[1:], stream, first, others
    gc.collect()
    assert rows.open == 3, "each error holds its own"
    del errors[1:]
    gc.collect()
    assert rows.open == 1


def test_a_stream_that_is_dropped_makes_room_at_once(together: Recognizer, rows: Rows) -> None:
    """Also where the scheduler has just told it what it said, and is busy with others."""

    def come_and_go(seed: int) -> None:
        for length in np.random.default_rng(seed).integers(60, 900, 20):
            stream = together.stream(early="off")
            stream.push(AUDIO[:length])
            stream.end_utterance()
            del stream

    with ThreadPoolExecutor(STREAMS) as pool:
        for done in [pool.submit(come_and_go, seed) for seed in range(STREAMS)]:
            done.result(TIMEOUT_S)
    assert rows.open <= STREAMS


def test_a_full_recogniser_says_so(together: Recognizer, rows: Rows) -> None:
    streams = [together.stream() for _ in range(STREAMS)]
    with pytest.raises(FullError, match="at most 12 streams"):
        together.stream()
    for each in streams:
        each.push(AUDIO)
        each.end_utterance()  # a next utterance needs no other place
    streams[3].close()
    again = together.stream()
    assert rows.open == STREAMS
    again.close()
    for each in streams:
        each.close()
    assert rows.open == 0


def test_audio_that_waits_too_long_is_refused(
    together: Recognizer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.inbox.MOST_WAITING_S", 1.0)
    rows.gate = threading.Event()
    stream = together.stream(early="off")
    stream.feed(AUDIO[:60])
    assert rows.waits.wait(TIMEOUT_S)
    stream.feed(AUDIO[:1000])
    stream.feed(AUDIO[:1])
    with pytest.raises(FullError, match="found 1 s of a stream's audio waiting; feed no faster"):
        stream.feed(AUDIO[:1])
    stream.feed_end()
    rows.gate.set()

    async def final() -> Final:
        async for event in stream:
            if isinstance(event, Final):
                return event
        raise AssertionError

    assert loop(final()).audio_s == (60 + 1000 + 1) / together.bundle.sample_rate


def test_the_lag_of_what_waited(together: Recognizer, rows: Rows) -> None:
    """It is counted from the arrival of the audio that an event accounts for, whenever that was heard."""
    rows.gate = threading.Event()
    stream, now_s = together.stream(early="off"), 0.0
    stream.now = lambda: now_s
    for _ in range(20):
        stream.feed(AUDIO[:30])
        now_s += 1.0
    stream.feed_end()
    rows.gate.set()

    async def lags() -> list[tuple[float, float]]:
        found = []
        async for event in stream:
            found.append((event.audio_s, event.lag_ms))
            if isinstance(event, Final):
                return found
        raise AssertionError

    *partials, (_, of_final) = loop(lags())
    rate = together.bundle.sample_rate
    assert partials
    assert [lag for _, lag in partials] == [1e3 * (20 - (round(audio_s * rate) - 1) // 30) for audio_s, _ in partials]
    assert of_final == 0.0


@pytest.mark.parametrize("how", ["stream", "recogniser"])
def test_closing_ends_what_is_listened_to(together: Recognizer, rows: Rows, how: str) -> None:
    async def listen() -> int:
        stream = together.stream(early="off")
        stream.feed(AUDIO)
        count = 0
        async for _ in stream:
            count += 1
            if count == 1:
                await asyncio.to_thread(stream.close if how == "stream" else together.close)
        for late in (lambda: stream.feed(AUDIO), stream.feed_end, lambda: stream.push(AUDIO), stream.end_utterance):
            with pytest.raises(ClosedError):
                late()
        return count

    assert loop(listen()) >= 1
    gc.collect()
    assert rows.open == 0


@pytest.mark.parametrize("fed", [True, False])
def test_closing_in_the_middle_of_much_audio(together: Recognizer, rows: Rows, fed: bool) -> None:
    rows.gate = threading.Event()
    stream = together.stream(early="off")
    with ThreadPoolExecutor(2) as threads:
        pushing = threads.submit(stream.feed if fed else stream.push, AUDIO)
        assert rows.waits.wait(TIMEOUT_S)
        closing = threads.submit(stream.close)
        wait_for_job(stream)
        rows.gate.set()
        closing.result(TIMEOUT_S)
        with nullcontext() if fed else pytest.raises(ClosedError):
            pushing.result(TIMEOUT_S)
    closer = threading.Thread(target=together.close, daemon=True)
    closer.start()
    finish(closer)  # the scheduler has nothing left to do
    assert sum(rows.runs) == 1


def test_a_reset_forgets_what_waits(together: Recognizer, apart: Recognizer, rows: Rows) -> None:
    rows.gate = threading.Event()
    stream = together.stream(early="off")
    for _ in range(9):
        stream.feed(AUDIO)
    assert rows.waits.wait(TIMEOUT_S)
    with ThreadPoolExecutor(1) as thread:
        resetting = thread.submit(stream.reset)
        wait_for_job(stream)
        rows.gate.set()
        resetting.result(TIMEOUT_S)
    assert sum(rows.runs) == 1
    assert said(stream, 2) == said(apart.stream(early="off"), 2)


def test_one_task_at_a_time(together: Recognizer) -> None:
    async def two() -> None:
        stream = together.stream()
        first = asyncio.create_task(stream.__anext__())
        await asyncio.sleep(0)
        with pytest.raises(InputError, match="one task"):
            await stream.__anext__()
        stream.close()
        with pytest.raises(StopAsyncIteration):
            await first

    loop(two())


def test_a_recogniser_that_is_dropped_ends_its_thread(rig: Rig, rows: Rows) -> None:
    before = set(threading.enumerate())
    stream = Recognizer(rig.folder, backend=rows).stream()
    stream.push(AUDIO)
    started = set(threading.enumerate()) - before
    assert {thread.name for thread in started} == {"scheduler", "answerer"}
    del stream
    gc.collect()
    finish(*started)
    assert rows.open == 0


def test_a_reset_forgets_partials_and_keeps_what_was_raised(together: Recognizer, rows: Rows) -> None:
    stream = together.stream(early="off")
    stream.feed(AUDIO)
    stream.end_utterance()  # what was fed is heard
    assert any(isinstance(each, Partial) for each in stream._mailbox._held)
    rows.fails = True
    stream.feed(AUDIO)
    stream.end_utterance()
    rows.fails = False
    stream.reset()
    assert {type(each) for each in stream._mailbox._held} == {CudaError}
