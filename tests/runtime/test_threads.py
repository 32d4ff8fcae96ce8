"""Cancel, reset and close from other threads while a step runs: no deadlock, no leak, nothing after close or of what was cancelled."""

import asyncio
import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Event, Recognizer, Stream
from runtime.backends import StepResult
from runtime.backends.tensorrt import TensorRtState
from runtime.errors import ClosedError
from tests.runtime.fake_gpu import FakeGpu, FakeLibcuda
from tests.runtime.rig import Host, Rig, add_transducer, windows

TIMEOUT_S = 30.0
AUDIO = np.concatenate([window for window, _ in windows(20)])


@pytest.fixture(autouse=True)
def _threads_that_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def finish(*threads: threading.Thread) -> None:
    for each in threads:
        each.join(TIMEOUT_S)
    assert not any(each.is_alive() for each in threads), "a deadlock"


class Worker(threading.Thread):
    """Calls a stream's methods at random until it is closed; keeps any other error."""

    def __init__(self, stream: Stream, closed: threading.Event, seed: int, longest: int) -> None:
        super().__init__(daemon=True)
        self._stream, self._closed, self._random, self._longest = stream, closed, np.random.default_rng(seed), longest
        self.error: BaseException | None = None
        self.calls = 0

    def run(self) -> None:
        try:
            while True:
                late = self._closed.is_set()
                self._call()
                self.calls += 1
                assert not late, "a call after close returned"
        except ClosedError:
            pass
        except BaseException as error:  # noqa: BLE001 -- shown by the main thread
            self.error = error

    def _call(self) -> None:
        choice = self._random.random()
        if choice < 0.7:
            self._stream.push(np.resize(AUDIO, int(self._random.integers(self._longest))))
        elif choice < 0.85:
            self._stream.end_utterance()
        else:
            self._stream.reset()


def hammer(recognizer: Recognizer, seed: int, longest: int, running_s: float) -> int:
    """Three streams with two threads each, closed one by one or by the recogniser; return the calls that were made."""
    pace = np.random.default_rng(seed)
    streams = [(recognizer.stream(early="off"), threading.Event()) for _ in range(3)]
    workers = [Worker(*each, seed * 10 + place, longest) for place, each in enumerate(streams * 2)]
    for worker in workers:
        worker.start()

    def close() -> None:
        for stream, closed in streams[: int(pace.integers(3))]:
            time.sleep(running_s * pace.random())
            stream.close()
            closed.set()
        time.sleep(running_s)
        recognizer.close()
        for _, closed in streams:
            closed.set()

    closers = [threading.Thread(target=close, daemon=True), threading.Thread(target=close, daemon=True)]
    for each in closers:
        each.start()
    finish(*closers, *workers)
    assert [each.error for each in workers if each.error] == []
    return sum(each.calls for each in workers)


@pytest.mark.parametrize("seed", range(8))
def test_hammering_on_the_gpu(rig: Rig, seed: int) -> None:
    recognizer = Recognizer(rig.folder, backend=rig.open())
    assert hammer(recognizer, seed, longest=300, running_s=0.05) > 0
    assert rig.gpu.live == {}


@pytest.mark.usefixtures("every_step_is_taken")
@pytest.mark.parametrize("seed", range(2))
def test_hammering_onnxruntime(bundle: Path, seed: int) -> None:
    assert hammer(Recognizer(bundle, backend="onnxruntime-cpu"), seed, longest=6_000, running_s=0.2) > 0


@pytest.mark.usefixtures("every_step_is_taken")
def test_streams_at_once_say_what_each_says_alone(bundle: Path, sample: list[tuple[str, np.ndarray]]) -> None:
    clips = sorted((audio for _, audio in sample), key=len)[:3]
    with Recognizer(bundle, backend="onnxruntime-cpu", lm=None) as recognizer:

        def said(audio: np.ndarray) -> list[Event]:
            stream = recognizer.stream(early="off")
            return [*stream.push(audio), stream.end_utterance()]

        alone = list(map(said, clips))
        with ThreadPoolExecutor(len(clips)) as pool:
            assert list(pool.map(said, clips)) == alone


def test_streams_that_are_closed_give_their_lanes_back(rig: Rig) -> None:
    recognizer = Recognizer(rig.folder, backend=rig.open())
    for _ in range(5):
        streams = [recognizer.stream(early="off") for _ in range(3)]
        for each in streams:
            each.push(AUDIO)
            each.close()
            each.close()
    assert rig.lanes() == 3


def test_the_lane_outlives_its_step(rig: Rig) -> None:
    backend = rig.open()
    started: list[int] = []
    ended: list[ClosedError] = []

    def step(state: TensorRtState) -> None:
        try:
            for number, (window, valid) in enumerate(windows(5000)):
                backend.step(window, valid, state)
                if number == 0:
                    started.append(number)
        except ClosedError as error:
            ended.append(error)

    running = [threading.Thread(target=step, args=(backend.new_state(),), daemon=True) for _ in range(3)]
    for each in running:
        each.start()
    while len(started) < 3:
        time.sleep(0.001)
    backend.close()  # under three steps: with no stream above it to wait for them
    finish(*running)
    assert len(ended) == 3
    assert rig.gpu.live == {}


def expect_closed(work: Callable[[], Any]) -> None:
    with pytest.raises(ClosedError):
        work()


class Gate(Host):
    """The toy step on the host; its third step waits until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.passed = threading.Event(), threading.Event()
        self.steps = 0
        self.closed_in_step: bool | None = None
        self._in_step = False

    def step(self, window: np.ndarray, valid: int, state: Any) -> StepResult:  # noqa: ANN401
        self.steps += 1
        self._in_step = True
        if self.steps == 3:
            self.reached.set()
            assert self.passed.wait(TIMEOUT_S)
        result = super().step(window, valid, state)
        self._in_step = False
        return result

    def close(self) -> None:
        self.closed_in_step = self._in_step


@pytest.mark.parametrize("how", ["reset", "close", "recognizer.close"])
def test_a_push_is_cut_short_after_its_step(rig: Rig, how: str) -> None:
    gate = Gate()
    recognizer = Recognizer(rig.folder, backend=gate)
    stream = recognizer.stream(early="off")
    returned: list[object] = []

    def push() -> None:
        try:
            returned.append(stream.push(AUDIO))
        except ClosedError as error:
            returned.append(str(error))

    interrupt = recognizer.close if how == "recognizer.close" else getattr(stream, how)
    pushing, interrupting = (threading.Thread(target=work, daemon=True) for work in (push, interrupt))
    pushing.start()
    assert gate.reached.wait(TIMEOUT_S)
    interrupting.start()
    while not (stream._hearing._interrupted):
        time.sleep(0.001)
    assert interrupting.is_alive(), "it does not wait for the step in progress"
    gate.passed.set()
    finish(pushing, interrupting)
    assert gate.steps == 3
    if how == "reset":
        assert returned == [[]]
        fresh = Recognizer(rig.folder, backend=Host()).stream(early="off")
        assert (stream.push(AUDIO), stream.end_utterance()) == (fresh.push(AUDIO), fresh.end_utterance())
        return
    assert returned == ["expected an open stream, found a closed one; make another"]
    for late in (lambda: stream.push(AUDIO), stream.end_utterance, stream.reset):
        expect_closed(late)
    stream.close()
    if how == "recognizer.close":
        assert gate.closed_in_step is False
        expect_closed(recognizer.stream)


def test_a_reset_that_another_push_overtakes(rig: Rig) -> None:
    """It had stopped what was in progress; then another thread's push came first."""
    stream = Recognizer(rig.folder, backend=Host()).stream(early="off")
    lock = stream._one_at_a_time

    class Overtaken:
        def __enter__(self) -> None:
            stream._one_at_a_time = lock
            stream.push(AUDIO)
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    stream._one_at_a_time = Overtaken()  # type: ignore[assignment]
    stream.reset()
    fresh = Recognizer(rig.folder, backend=Host()).stream(early="off")
    assert (stream.push(AUDIO), stream.end_utterance()) == (fresh.push(AUDIO), fresh.end_utterance())


def test_an_event_loop_runs_on_while_a_step_does(rig: Rig) -> None:
    gate = Gate()
    recognizer = Recognizer(rig.folder, backend=gate)

    async def listen() -> list[object]:
        pushing = asyncio.create_task(asyncio.to_thread(recognizer.stream(early="off").push, AUDIO))
        while not gate.reached.is_set():
            await asyncio.sleep(0.001)
        gate.passed.set()  # by the loop, while the step waits for it
        return list(await pushing)

    with ThreadPoolExecutor(1) as pool:  # in this thread the browser of pages' tests may have its loop
        heard = pool.submit(asyncio.run, asyncio.wait_for(listen(), TIMEOUT_S)).result()
    assert heard == recognizer.stream(early="off").push(AUDIO)


class SlowLibcuda(FakeLibcuda):
    """The driver where one event is not done before it is let through."""

    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__(gpu)
        self.reached, self.passed = threading.Event(), threading.Event()
        self.slow: int | None = None  # handle of the event

    def cuEventSynchronize(self, handle: ctypes.c_void_p) -> int:  # noqa: N802
        if handle.value == self.slow:
            self.reached.set()
            assert self.passed.wait(TIMEOUT_S)
        return super().cuEventSynchronize(handle)


def test_a_stream_that_waits_for_the_gpu_holds_up_no_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = SlowLibcuda(rig.gpu)
    monkeypatch.setattr("runtime.cuda._driver", lambda: driver)
    alone = Recognizer(rig.folder, backend=Host()).stream(early="off")
    expected = [alone.push(AUDIO), alone.end_utterance()]
    recognizer = Recognizer(rig.folder, backend=rig.open())
    waiting, other = recognizer.stream(early="off"), recognizer.stream(early="off")
    driver.slow = int(waiting._hearing._state.lane._queue._spun)
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(waiting.push(AUDIO)), daemon=True)
    thread.start()
    assert driver.reached.wait(TIMEOUT_S)
    # Meanwhile all that another stream may ask for: steps, the next utterance, a new lane.
    assert [other.push(AUDIO), other.end_utterance()] == expected
    another = recognizer.stream(early="off")
    assert [another.push(AUDIO), another.end_utterance()] == expected
    assert thread.is_alive()
    driver.passed.set()
    finish(thread)
    assert [*found, waiting.end_utterance()] == expected


def test_further_turns_of_all_streams_are_counted(rig: Rig) -> None:
    add_transducer(rig.folder, b"an eager evaluation")
    backend = rig.open(decoder="rnnt")
    cut = windows(60)

    def turns(streams: int) -> int:
        before = backend.launches.further_turns or 0
        states = [backend.new_state() for _ in range(streams)]
        threads = [threading.Thread(target=run, args=(state,), daemon=True) for state in states]
        for each in threads:
            each.start()
        finish(*threads)
        return (backend.launches.further_turns or 0) - before

    def run(state: TensorRtState) -> None:
        for window, valid in cut:
            backend.step(window, valid, state)

    alone = turns(1)
    assert alone > 0
    assert turns(4) == 4 * alone
