"""Streams whose callers do what nobody should, or what few do: none waits for ever, and none is told nothing."""

import asyncio
import math
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import ClosedError, EndpointRules, Event, Final, FullError, InputError, Recognizer, Stream
from runtime.asking import Asking
from runtime.hearing import Hearing
from tests.own_process import forked
from tests.runtime.many import TIMEOUT_S, Rows, loop
from tests.runtime.rig import windows

AUDIO = np.concatenate([window for window, _ in windows(40)])
FEW = AUDIO[:3]
"""Too little for a step."""


@pytest.fixture(params=["together", "apart"])
def recognizer(request: pytest.FixtureRequest) -> Recognizer:
    found: Recognizer = request.getfixturevalue(request.param)
    return found


async def heard(stream: Stream, finals: int = 1) -> list[Event]:
    events: list[Event] = []
    while sum(isinstance(event, Final) for event in events) < finals:
        events.append(await stream.__anext__())
    return events


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("closed", ["stream", "recogniser"])
def test_nothing_of_a_closed_stream_waits_or_is_taken(recognizer: Recognizer, closed: str, used: bool) -> None:
    stream = recognizer.stream()
    if used:
        stream.push(AUDIO)
    (stream if closed == "stream" else recognizer).close()
    with pytest.raises(ClosedError):
        stream.push(FEW)
    with pytest.raises(ClosedError):
        stream.feed(FEW)
    with pytest.raises(StopAsyncIteration):
        loop(stream.__anext__())


def test_a_fork_hears_nothing(recognizer: Recognizer) -> None:
    stream = recognizer.stream()
    stream.push(AUDIO)

    def listen() -> int:
        with suppress(ClosedError):
            asyncio.run(stream.__anext__())
            return 1
        return 0

    assert forked(listen, sys.__stderr__.fileno()) == 0  # type: ignore[union-attr]


def test_a_task_of_a_loop_that_was_closed_waits_no_more(recognizer: Recognizer) -> None:
    stream, kept = recognizer.stream(), list[object]()

    def left() -> None:
        closed = asyncio.new_event_loop()
        kept.append(closed.create_task(heard(stream)))
        closed.run_until_complete(asyncio.sleep(0.01))
        closed.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(left).result(TIMEOUT_S)
    stream.feed(AUDIO)
    stream.feed_end()
    assert len(loop(heard(stream))) > 1


def test_a_task_that_is_being_cancelled_waits_no_more(recognizer: Recognizer) -> None:
    stream = recognizer.stream()

    async def two() -> list[Event]:
        first = asyncio.create_task(heard(stream))
        await asyncio.sleep(0)
        first.cancel()
        for late in (partial(stream.feed, AUDIO), stream.feed_end):
            asyncio.get_running_loop().call_later(0.05, late)
        return await heard(stream)  # before the first has had its turn

    assert len(loop(two())) > 1


@pytest.mark.parametrize("at_s", [math.nan, math.inf, -math.inf])
def test_audio_arrives_at_some_time(recognizer: Recognizer, at_s: float) -> None:
    stream = recognizer.stream()
    with pytest.raises(InputError, match="expected arrived_s as a time of the stream's clock, found"):
        stream.feed(AUDIO, at_s)
    stream.feed_end()
    assert [event.audio_s for event in loop(heard(stream))] == [0.0]


@pytest.mark.parametrize("silence_ms", [-1, 10_001, math.nan, math.inf, "1", None])
def test_silence_is_some(recognizer: Recognizer, silence_ms: int) -> None:
    stream = recognizer.stream()
    stream.push(AUDIO)
    for end in (stream.end_utterance, stream.feed_end):
        with pytest.raises(InputError, match="expected silence_ms from 0 to 10000, found"):
            end(silence_ms)
    assert stream.end_utterance().audio_s == len(AUDIO) / 1000


def test_audio_before_an_end_waits_too(together: Recognizer, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends each utterance at once is refused as soon as one who ends none; what waits can all be heard."""
    monkeypatch.setattr("runtime.inbox.MOST_WAITING_S", 1.0)
    rows.gate = threading.Event()
    stream = together.stream(early="off")
    stream.feed(AUDIO[:60])
    assert rows.waits.wait(TIMEOUT_S)
    for _ in range(3):
        stream.feed(AUDIO[:400])
        stream.feed_end()
    with pytest.raises(FullError, match="found 1 s of a stream's audio waiting"):
        stream.feed(AUDIO[:400])
    rows.gate.set()
    assert [event.audio_s for event in loop(heard(stream, 3)) if isinstance(event, Final)] == [0.46, 0.4, 0.4]
    for _ in range(2):
        stream.feed(AUDIO[:900])  # none of it waits any more
        stream.feed_end()
        loop(heard(stream))


@pytest.mark.parametrize("call", ["push", "end_utterance"])
def test_a_caller_that_is_interrupted(together: Recognizer, rows: Rows, call: str) -> None:
    """Its utterance is lost: nobody would be told what was said in it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    stream, fresh = together.stream(early="off"), together.stream(early="off")
    stream.push(AUDIO[:100])
    rows.gate = threading.Event()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            stream.push(AUDIO) if call == "push" else stream.end_utterance()
    finally:
        signal.signal(signal.SIGALRM, before)
    rows.gate.set()
    expected = [*fresh.push(AUDIO), fresh.end_utterance()]
    assert [event.at(0.0) for event in [*stream.push(AUDIO), stream.end_utterance()]] == expected


@pytest.mark.parametrize("call", ["push", "end_utterance", "feed", "feed_end"])
def test_a_caller_that_is_interrupted_before_the_scheduler_hears_of_it(
    together: Recognizer, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """What comes next is heard nevertheless, and so is the close."""
    stream = together.stream(early="off")
    stream.feed(FEW)  # from here on the scheduler does the work
    assert stream._inbox
    with monkeypatch.context() as patched:

        def interrupted(_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(stream._inbox, "_wake", interrupted)
        with pytest.raises(KeyboardInterrupt):
            getattr(stream, call)(*([AUDIO] if call in ("push", "feed") else []))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(stream.end_utterance).result(TIMEOUT_S)
        pool.submit(stream.close).result(TIMEOUT_S)


@pytest.mark.parametrize("fed", [False, True])
def test_nothing_is_kept_of_empty_pushes(recognizer: Recognizer, fed: bool) -> None:
    stream, empty = recognizer.stream(early="off"), FEW[:0]
    for _ in range(9):
        if fed:
            stream.feed(empty)
        else:
            assert stream.push(empty) == []
    assert not stream._hearing._arrivals._pieces
    assert stream._inbox is None or not stream._inbox._pieces


def test_a_long_push_is_not_kept(recognizer: Recognizer) -> None:
    stream = recognizer.stream(early="off")
    stream.push(AUDIO)
    kept = stream._hearing._audio
    assert kept.base is None
    assert len(kept) < recognizer.bundle.window_samples


@pytest.mark.parametrize("start_s", [-1.0, math.nan, math.inf, 1e308])
def test_a_start_is_some_time(recognizer: Recognizer, start_s: float) -> None:
    with pytest.raises(InputError, match="expected a stream's start from 0 s on, found "):
        recognizer.stream().reset(start_s)


def test_a_masked_array_is_refused(recognizer: Recognizer) -> None:
    with pytest.raises(InputError, match="expected samples as a numpy array of float32 or int16, found MaskedArray"):
        recognizer.stream().push(np.ma.masked_array(FEW))  # type: ignore[no-untyped-call]


class Runs(threading.Semaphore):
    """Lets so many runs pass as are released."""

    def __init__(self) -> None:
        super().__init__(0)

    def wait(self, timeout_s: float) -> bool:
        return self.acquire(timeout=timeout_s)


@pytest.mark.parametrize("feed", ["frames", "at once"])
def test_events_are_told_as_they_become_known(together: Recognizer, rows: Rows, feed: str) -> None:
    """Not at the end of all that waits, though an end is asked for, or all was fed at once."""
    rows.gate = runs = Runs()
    stream, audio = together.stream(early="off"), np.tile(AUDIO, 4)
    for frame in [audio] if feed == "at once" else np.split(audio, 50):
        stream.feed(frame)
    stream.feed_end()
    runs.release(len(audio) // together.bundle.chunk_samples // 2)
    loop(stream.__anext__())
    runs.release(len(audio))
    assert loop(heard(stream))[-1].audio_s == len(audio) / 1000


def test_a_reset_while_an_utterance_ends_itself(
    bundle: Path, sample: list[tuple[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The push hears no more of its audio, and returns nothing."""
    audio = sample[0][1]
    with Recognizer(bundle, backend="onnxruntime-cpu", lm=None) as recognizer:
        stream, fresh = (recognizer.stream(EndpointRules(max_utterance_ms=320), early="off") for _ in range(2))
        ended: list[float] = []

        def end(*asked: Any) -> Asking[Final]:
            stream._hearing.cancel()  # as reset in another thread does
            final = yield from Hearing.end(stream._hearing, *asked)
            ended.append(final.audio_s)
            return final

        with monkeypatch.context() as patch:
            patch.setattr(stream._hearing, "end", end)
            assert stream.push(audio) == []
        assert len(ended) == 1
        stream.reset()
        assert [*stream.push(audio), stream.end_utterance()] == [*fresh.push(audio), fresh.end_utterance()]


@pytest.mark.parametrize("option", [{"precision": "fp16"}, {"max_streams": 1}])
def test_an_open_backend_has_its_own(recognizer: Recognizer, bundle: Path, option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(InputError, match=f"^expected no {name} beside an open backend, found .*; it has its own"):
        Recognizer(bundle, backend=recognizer.backend, lm=None, **option)


@pytest.mark.parametrize("backend", [5, 0, Recognizer])
def test_what_is_no_backend(bundle: Path, backend: Any) -> None:  # noqa: ANN401 -- anything
    with pytest.raises(InputError, match=r"^expected a backend's name or an open one, found .*; leave it out"):
        Recognizer(bundle, backend=backend, lm=None)


def test_a_recogniser_says_what_it_is(recognizer: Recognizer) -> None:
    assert repr(recognizer) == "<Recognizer: toy, look-ahead 0 ms, ctc, language model none, on host>"
