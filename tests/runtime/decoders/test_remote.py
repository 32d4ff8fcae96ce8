"""Beam searches in other processes say what they say in this one, and whatever ends a process takes no more than its utterances."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import ClosedError, Event, Final, InputError, LostError, Recognizer, Stream
from runtime.backends import Backend, Step, StepResult, Wrapped, open_backend
from runtime.bundle import read_bundle
from runtime.decoders.maker import DecoderMaker
from runtime.decoders.remote import RemoteDecoder, usual_processes
from runtime.decoders.worker import Asked, Beginning, Request, Searches
from runtime.early import Early
from tests.own_process import forked

TIMEOUT_S = 60.0
FRAME = 1600
"""Samples."""
HOTWORDS = {"Hi there": 8.0, "timer": 3.0}


class Together(Wrapped):
    """Steps of several streams, whose results are void after the next run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(open_backend(folder, read_bundle(folder), "onnxruntime-cpu", "fp32"))
        self._given: list[StepResult] = []

    def peek(self, window: np.ndarray, valid: int, state: Any) -> StepResult:  # noqa: ANN401
        return replace(self.step(window, valid, state), state=state)

    def run(self, steps: Sequence[Step]) -> list[StepResult]:
        for result in self._given:
            assert result.log_probs is not None
            result.log_probs[:] = np.nan
        results = Backend.run(self, steps)
        self._given = [replace(result, log_probs=np.array(result.log_probs)) for result in results]
        return self._given


@pytest.fixture(scope="module")
def step(bundle: Path) -> Together:
    return Together(bundle)


@pytest.fixture(scope="module")
def clips(sample: list[tuple[str, np.ndarray]]) -> list[np.ndarray]:
    return [samples for _, samples in sample[:6]]


@pytest.fixture(scope="module", params=["default", "none"])
def pair(request: pytest.FixtureRequest, bundle: Path, step: Together) -> Iterator[tuple[Recognizer, Recognizer]]:
    """A recogniser whose streams run apart, and one whose streams' searches are in two processes."""
    yield from opened(bundle, step, request.param)


@pytest.fixture(scope="module")
def with_ngram(bundle: Path, step: Together) -> Iterator[tuple[Recognizer, Recognizer]]:
    yield from opened(bundle, step, "default")


def opened(bundle: Path, step: Together, lm: str) -> Iterator[tuple[Recognizer, Recognizer]]:
    apart = Recognizer(bundle, backend=step, lm=lm)
    with together(bundle, step, lm=lm) as recognizer:
        yield apart, recognizer


def together(bundle: Path, step: Together, processes: int = 2, lm: str = "default") -> Recognizer:
    most = Together.__new__(Together)
    vars(most).update(vars(step), most_streams=16)
    return Recognizer(bundle, backend=most, lm=lm, search_processes=processes)


def said(stream: Stream, clips: Sequence[np.ndarray]) -> list[Event]:
    """What is said of clips at the pace of speech, by a clock of our own, so that early text is always due."""
    now_s, events = 0.0, list[Event]()
    stream.now = lambda: now_s
    for samples in clips:
        for start in range(0, len(samples), FRAME):
            now_s += FRAME / 16000
            events += stream.push(samples[start : start + FRAME])
        events.append(stream.end_utterance())
    return events


def workers(recognizer: Recognizer) -> list[int]:
    assert recognizer._decoders._processes
    return [each._worker._process.pid for each in recognizer._decoders._processes._processes if each._worker]


def waiting(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end_s, "it goes on"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("early", ["off", "eager"])
@pytest.mark.parametrize("hotwords", [{}, HOTWORDS], ids=["no hotwords", "hotwords"])
def test_events_are_those_of_a_search_here(
    pair: tuple[Recognizer, Recognizer], clips: list[np.ndarray], hotwords: dict[str, float], early: Early
) -> None:
    apart, recognizer = pair
    turns = [np.roll(np.arange(len(clips)), turn)[:3] for turn in range(4)]
    spoken = [[clips[place] for place in turn] for turn in turns]
    expected = [said(apart.stream(hotwords=hotwords, early=early), each) for each in spoken]
    streams = [recognizer.stream(hotwords=hotwords, early=early) for _ in spoken]
    decoders = [stream._hearing._decoder for stream in streams]
    assert {isinstance(decoder, RemoteDecoder) for decoder in decoders} == {bool(recognizer.ngram or hotwords)}
    with ThreadPoolExecutor(len(streams)) as threads:
        found = list(threads.map(said, streams, spoken))
    assert found == expected
    assert any(getattr(event, "early", "") for event in found[0]) == (early == "eager")
    assert any(event.words for event in found[0])


def test_a_process_is_small_and_forgets(with_ngram: tuple[Recognizer, Recognizer], clips: list[np.ndarray]) -> None:
    _, recognizer = with_ngram
    said(recognizer.stream(hotwords=HOTWORDS, early="eager"), clips[:2])
    assert recognizer._decoders._processes
    for process in recognizer._decoders._processes._processes:
        process.start()
        assert process._worker
        status = Path(f"/proc/{process._worker._process.pid}/status").read_text()
        resident_mb = int(status.split("VmRSS:")[1].split()[0]) / 1024
        print(f"a process of searches: {resident_mb:.0f} MB resident")
        assert resident_mb < 200
    gc.collect()
    assert [len(each._worker._numbers) for each in recognizer._decoders._processes._processes if each._worker] == [0, 0]


def test_what_is_dropped_is_dropped_there(bundle: Path) -> None:
    opened = read_bundle(bundle)
    maker = DecoderMaker(bundle, opened, "ctc", "default")
    searches, nothing = Searches(maker), np.zeros((0, len(opened.vocabulary) + 1), np.float32)
    hotwords = maker.hotwords(["new"])
    asked = [Asked(1, Beginning(0.0, 0), 0), Asked(2, 1, 0), Asked(3, None, 0)]
    answers = searches.answers(Request([], {0: hotwords}, asked, nothing))
    assert [isinstance(answer, KeyError) for answer in answers] == [False, False, True]
    assert (set(searches._beams), set(searches._hotwords)) == ({1, 2}, {0})
    searches.answers(Request([0, 1, 2], {}, [], nothing))
    assert not searches._beams
    assert not searches._hotwords


def test_a_process_that_is_killed(bundle: Path, step: Together, clips: list[np.ndarray]) -> None:
    """Searches in it are lost, in flight or not; others go on meanwhile; the next utterances begin in a fresh process."""
    samples, half = clips[0], len(clips[0]) // 2
    plain = Recognizer(bundle, backend=step).stream(early="off")
    expected = said(plain, [samples])
    with together(bundle, step) as recognizer, ThreadPoolExecutor(1) as thread:
        searching, other, resting = [recognizer.stream(early="off") for _ in range(3)]  # on the first, second and first
        first = [other.push(samples[:half]), resting.push(samples[:half]), searching.push(samples[:half])]
        killed, kept = workers(recognizer)
        os.kill(killed, signal.SIGSTOP)
        lost = thread.submit(searching.push, samples[half:])
        rest = [*other.push(samples[half:]), other.end_utterance()]
        assert [*first[0], *rest][-1] == expected[-1]
        assert not lost.done()
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(LostError, match=r"found it ended with exit code -9, .*; begin the next one$"):
            lost.result(TIMEOUT_S)
        with pytest.raises(LostError, match="found it ended"):
            resting.push(samples[half:])
        for stream in (searching, resting, other):
            assert [event.at(0.0) for event in said(stream, [samples])] == [event.at(0.0) for event in expected]
        assert killed not in workers(recognizer)
        assert kept in workers(recognizer)
        assert is_gone(killed)


@pytest.mark.parametrize("started", [True, False])
def test_closing_during_a_search(bundle: Path, step: Together, clips: list[np.ndarray], started: bool) -> None:
    recognizer = together(bundle, step, 1)
    stream = recognizer.stream(early="off")
    if started:
        stream.push(clips[0][: len(clips[0]) // 2])
    (pid,) = workers(recognizer)
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        pushing = thread.submit(stream.push, clips[0])
        assert recognizer._decoders._processes
        waiting(recognizer._decoders._processes._processes[0]._running.locked)
        recognizer.close()
        with pytest.raises(ClosedError):
            pushing.result(TIMEOUT_S)
    assert is_gone(pid)
    with pytest.raises(ClosedError):
        stream.push(clips[0])
    recognizer.close()


@pytest.mark.parametrize("missing", ["thread", "process", "program"])
def test_what_cannot_be_started(
    bundle: Path, step: Together, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Only those who need it are told, in one line; what they say later is heard."""
    with together(bundle, step, 1, lm="none") as recognizer, ThreadPoolExecutor(1) as thread:
        other = recognizer.stream(early="off")
        assert thread.submit(said, other, clips[:1]).result(TIMEOUT_S)  # the scheduler runs

        def refused(*_: object, **__: object) -> None:
            raise RuntimeError("can't start new thread") if missing == "thread" else BlockingIOError(11, "no more")

        with monkeypatch.context() as patched:
            if missing == "program":
                patched.setattr(sys, "executable", None)
                for asked in (partial(recognizer.stream, hotwords=HOTWORDS), partial(together, bundle, step)):
                    with pytest.raises(InputError, match=r"^expected Python's program in sys\.executable, found none"):
                        asked()
                return
            name = "runtime.scheduler.Answerer" if missing == "thread" else "runtime.decoders.worker_process.Popen"
            patched.setattr(name, refused)
            stream = recognizer.stream(early="off", hotwords=HOTWORDS)
            with pytest.raises(LostError, match=r"^expected (room for a|another process for) beam search, found "):
                thread.submit(stream.push, clips[0]).result(TIMEOUT_S)
            assert thread.submit(said, other, clips[:1]).result(TIMEOUT_S)
        assert thread.submit(said, stream, clips[:1]).result(TIMEOUT_S)


def test_a_program_that_ends_while_a_search_is_stopped(batched_bundle: Path) -> None:
    run = [sys.executable, "-c", LEAVES, str(batched_bundle)]
    ended = subprocess.run(run, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert (ended.returncode, ended.stderr) == (0, "")
    waiting(lambda: is_gone(int(ended.stdout)))


def test_a_dropped_recogniser_leaves_no_process(bundle: Path, step: Together, clips: list[np.ndarray]) -> None:
    recognizer = together(bundle, step)
    streams = [recognizer.stream(early="off") for _ in range(2)]
    for stream in streams:
        stream.push(clips[0])
    pids = workers(recognizer)
    assert len(pids) == 2
    del recognizer, stream, streams
    gc.collect()
    waiting(lambda: all(map(is_gone, pids)))


def test_a_fork_leaves_the_processes_alone(bundle: Path, step: Together, clips: list[np.ndarray]) -> None:
    recognizer = together(bundle, step, 1)
    stream = recognizer.stream(early="off")
    stream.push(clips[0])

    def leave() -> int:
        assert recognizer._decoders._processes
        recognizer.close()
        recognizer._decoders._processes.close()  # as at an interpreter's end
        return 0

    assert forked(leave, sys.__stderr__.fileno()) == 0  # type: ignore[union-attr]
    assert isinstance(stream.end_utterance(), Final)
    recognizer.close()


PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from runtime.bundle import read_bundle
from runtime.decoders.maker import DecoderMaker
from runtime.decoders.remote import SearchProcesses
folder = Path(sys.argv[1])
bundle = read_bundle(folder)
processes = SearchProcesses(DecoderMaker(folder, bundle, "ctc", "default"), len(bundle.vocabulary) + 1, 1)
decoder = processes.new_decoder(0.0, None)
signal.signal(signal.SIGINT, lambda *_: None)
os.killpg(os.getpgrp(), signal.SIGINT)
decoder.copy().finish()
decoder.finish()
print(processes._processes[0]._worker._process.pid, flush=True)
"""


LEAVES = """
import os, signal, sys, time
from runtime import Recognizer, load_audio
recognizer = Recognizer(sys.argv[1], backend="onnxruntime-cpu", max_streams=2, search_processes=1, lm="none")
stream, samples = recognizer.stream(hotwords=["Hi there"], early="off"), load_audio("data/sample/clips/01.mp3")
stream.push(samples)
process = recognizer._decoders._processes._processes[0]
pid = process._worker._process.pid
os.kill(pid, signal.SIGSTOP)
stream.feed(samples)
while not process._running.locked():
    time.sleep(0.01)
print(pid, flush=True)
"""


OUTLIVED = "os.fork() or (os.closerange(0, 3), time.sleep(20)); os._exit(0)"  # by a fork, which holds the connection


@pytest.mark.parametrize(
    ("ending", "code"), [("", 0), ("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", -9), (OUTLIVED, 0)]
)
def test_the_end_of_a_program(bundle: Path, ending: str, code: int) -> None:
    """Ctrl-C is the program's own; what ends it, however, ends the process, and nothing is printed of that."""
    run = [sys.executable, "-c", PROGRAM + ending, str(bundle)]
    ended = subprocess.run(run, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, start_new_session=True)
    assert (ended.returncode, ended.stderr) == (code, "")
    ended_s = time.monotonic()
    waiting(lambda: is_gone(int(ended.stdout)))
    assert time.monotonic() - ended_s < 10


def test_neither_torch_nor_onnxruntime() -> None:
    program = "import sys, runtime.decoders.worker; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "onnxruntime", "tensorrt", "cuda", "soundfile", "asyncio"}.intersection(modules)


def test_how_many_processes(bundle: Path, step: Together, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    assert [usual_processes(streams) for streams in (1, 48, 49, 256, 4096)] == [1, 1, 2, 6, 15]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert usual_processes(1024) == 1
    for wrong in (0, 17, 1.0, True, "2"):
        with pytest.raises(InputError, match=r"^expected search_processes from 1 to the 16 of max_streams, found "):
            together(bundle, step, wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^expected max_streams with search_processes, found 2 of them without"):
        Recognizer(bundle, backend=step, search_processes=2)
