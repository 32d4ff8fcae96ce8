"""Streams at once: when frames are pushed, no cross-talk on the fake GPU and on onnxruntime, what the report says, and bad options."""

import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.__main__ import run
from bench.pages.published import read_published
from bench.pages.question_pages import question_pages
from bench.pages.result_tables import STREAMS
from bench.pages.terminal import print_written
from bench.results import ResultFile, read_result, write_result
from bench.rows import StreamsRow
from bench.session import Written
from bench.speech.arrivals import Clock
from bench.speech.clips import Clip
from bench.speech.speech_session import SpeechData, SpeechSession
from bench.speech.streams import (
    GIVE_UP_S,
    Answers,
    Options,
    Piece,
    alone,
    figures,
    measure,
    pieces,
    play,
    steps_of,
)
from bench.stopwatch import TimedRecognizer
from data.manifest import read_manifest
from runtime import Final, Partial, Recognizer, Stream
from runtime.audio import load_audio
from runtime.backends import Backend
from runtime.bundle import Bundle, read_bundle
from runtime.early import Early
from runtime.errors import CudaError, exit_code
from tests.runtime.rig import Host, Rig

SAMPLE = Path("data/sample")


class ThreadClock(Clock):
    """A virtual clock of each thread's own: it moves to deadlines, and by what a toy stream costs."""

    def __init__(self) -> None:
        super().__init__()
        self._own = threading.local()

    def start(self) -> None:
        pass

    def now(self) -> float:
        return getattr(self._own, "now_s", 0.0)

    def wait_until(self, time_s: float) -> None:
        self._own.now_s = max(self.now(), time_s)


class ToyStream(Stream):
    """Notes its frames; the push of a frame at which a step runs, and the end of an utterance, cost what they are told."""

    def __init__(self, clock: ThreadClock, step_s: float = 0.0, fails_at: int = -1) -> None:
        self._clock, self._step_s, self._fails_at = clock, step_s, fails_at
        self.pushed: list[tuple[float, int]] = []
        self.ended: list[float] = []

    def push(self, samples: np.ndarray) -> list[Any]:
        if len(self.pushed) == self._fails_at:
            raise CudaError("cudaGraphLaunch: it failed")
        self.pushed.append((self._clock.now(), len(samples)))
        self._clock.wait_until(self._clock.now() + self._step_s)
        return [Partial("a", (1,), 0.0)]

    def end_utterance(self, silence_ms: int = 0) -> Final:  # noqa: ARG002
        self.ended.append(self._clock.now())
        return Final("a", (1,), 0.0)


@pytest.fixture
def toy(folder: Path) -> Bundle:
    """1 kHz, a first step after 15 samples, then one every 20."""
    return read_bundle(folder)


def test_steps_are_those_of_a_stream(rig: Rig, toy: Bundle) -> None:
    ran: list[int] = []

    class Counting(Host):
        def step(self, *arguments: Any) -> Any:  # noqa: ANN401
            ran.append(1)
            return super().step(*arguments)

    stream = Recognizer(rig.folder, precision="fp32", backend=Counting()).stream(early="off")
    for heard in range(1, 100):
        stream.push(np.zeros(1, np.float32))
        assert len(ran) == steps_of(toy, heard), heard


@pytest.mark.parametrize(
    ("lengths", "streams", "samples", "expected"),
    [
        ([5, 7], 1, 9, [[(0, 5), (1, 4)]]),
        ([5, 7], 2, 9, [[(0, 5), (1, 4)], [(1, 7), (0, 2)]]),
        ([5, 7], 3, 5, [[(0, 5)], [(0, 5)], [(1, 5)]]),
        ([5], 1, 12, [[(0, 5), (0, 5), (0, 2)]]),
        ([9, 9, 9, 9], 2, 18, [[(0, 9), (1, 9)], [(2, 9), (3, 9)]]),
    ],
)
def test_what_each_stream_is_fed(lengths: list[int], streams: int, samples: int, expected: list[Any]) -> None:
    assert pieces(lengths, streams, samples) == [[Piece(*each) for each in share] for share in expected]


def test_frames_come_on_absolute_deadlines_spread_over_a_chunk(toy: Bundle) -> None:
    clock = ThreadClock()
    streams = [ToyStream(clock, 0.012) for _ in range(4)]
    audio = [[np.zeros(25, np.float32), np.zeros(40, np.float32)] for _ in streams]
    answered, took = play(toy, streams, audio, 10, clock)
    for place, (stream, answers) in enumerate(zip(streams, answered, strict=True)):
        start = place * 0.005  # a chunk is 20 ms, for four streams
        assert [length for _, length in stream.pushed] == [10, 10, 5, 10, 10, 10, 10]
        # Arrivals 10, 20, 25 ms and, from 25 on, 35, 45, 55, 65; a push takes 12 ms, so that they queue.
        begun = [10, 22, 34, 46, 58, 70, 82]
        assert [1e3 * (at - start) for at, _ in stream.pushed] == pytest.approx(begun)
        assert [1e3 * (at - start) for at in stream.ended] == pytest.approx([46, 94])
        # The frames that end at 15 and 35 samples of an utterance, or are the first beyond: 20, then 20 and 40.
        assert [1e3 * each for each in answers.chunk_s] == pytest.approx([34 - 20, 70 - 45, 94 - 65])
        assert [1e3 * each for each in answers.final_s] == pytest.approx([46 - 25, 94 - 65])
        assert (1e3 * answers.backlog_s, answers.audio_s) == pytest.approx((82 - 65, 0.065))
        assert len(answers.said) == 2
    assert not took["given_up"]
    assert took["cpu_cores"] > 0


def test_a_run_that_falls_behind_is_given_up(toy: Bundle) -> None:
    clock = ThreadClock()
    streams = [ToyStream(clock, 0.2), ToyStream(clock)]
    audio = [[np.zeros(500_000, np.float32)] for _ in streams]
    answered, took = play(toy, streams, audio, 20, clock)
    assert took["given_up"]
    slow, other = answered
    assert GIVE_UP_S < slow.backlog_s < GIVE_UP_S + 0.2
    assert len(streams[0].pushed) == 6
    assert len(streams[1].pushed) < 25_000
    assert slow.said == other.said == []
    found = figures(answered, took, 150.0, differing=0)
    assert (found["given_up"], found["slo_met"]) == (True, False)


def test_an_error_of_one_stream_ends_all(toy: Bundle) -> None:
    clock = ThreadClock()
    streams = [ToyStream(clock), ToyStream(clock, fails_at=3)]
    with pytest.raises(CudaError, match="it failed"):
        play(toy, streams, [[np.zeros(500_000, np.float32)]] * 2, 20, clock)
    assert len(streams[0].pushed) < 25_000


def noise(bundle: Bundle, clips: int) -> list[Clip]:
    rng = np.random.default_rng(0)
    return [
        Clip(f"{place}", rng.standard_normal(200 + 37 * place).astype(np.float32), bundle.sample_rate, "", None)
        for place in range(clips)
    ]


def measured(recognizer: TimedRecognizer, folder: Path, clips: list[Clip], streams: int, seconds: float) -> StreamsRow:
    """A row of streams that are pushed as fast as they can."""
    options = Options(bundle=folder, backend="onnxruntime-cpu", precision="fp32", seconds=seconds)
    session = SpeechSession(options, SpeechData(folder, [], [], []), recognizer, Console())
    made = [recognizer.stream(early="off") for _ in range(streams)]
    return measure(session, options, clips, partial(alone, recognizer, clips), made, clock=ThreadClock())


def on_a_backend(folder: Path, backend: Backend, clips: list[Clip], streams: int) -> StreamsRow:
    with TimedRecognizer(folder, backend=backend, lm=None) as recognizer:
        return measured(recognizer, folder, clips, streams, 2.0)


@pytest.mark.parametrize("streams", [1, 2, 4])
def test_no_cross_talk_on_the_gpu(rig: Rig, toy: Bundle, streams: int) -> None:
    row = on_a_backend(rig.folder, rig.open(), noise(toy, 5), streams)
    assert (row.streams, row.differing) == (streams, 0)
    assert row.clips is not None
    assert row.chunks is not None
    assert row.steps is not None
    assert row.clips >= 5 * streams
    assert row.chunks <= row.steps <= row.chunks + row.clips
    assert row.audio_minutes == pytest.approx(streams * 2.0 / 60, abs=1e-5)
    assert rig.lanes() == 0


class Mixing(Host):
    """A backend whose streams share one state: what must be found."""

    def __init__(self) -> None:
        super().__init__()
        self._state = super().new_state()

    def new_state(self) -> Any:  # noqa: ANN401
        return self._state

    def step(self, window: np.ndarray, valid: int, state: Any) -> Any:  # noqa: ANN401, ARG002
        result = super().step(window, valid, self._state)
        self._state = result.state
        return result


def test_cross_talk_is_found(folder: Path, toy: Bundle) -> None:
    row = on_a_backend(folder, Mixing(), noise(toy, 5), 2)
    assert row.differing
    assert row.slo_met is False


def test_no_cross_talk_in_onnxruntime(bundle: Path) -> None:
    spoken = [
        Clip(each.audio.name, load_audio(each.audio), 16_000, each.text, None)
        for each in read_manifest(SAMPLE / "manifest_en.jsonl")[:4]
    ]
    # A beam and an n-gram for all.
    with TimedRecognizer(bundle, precision="fp32", backend="onnxruntime-cpu") as recognizer:
        row = measured(recognizer, bundle, spoken, 3, 4.0)
    assert row.differing == 0
    assert row.clips is not None
    assert row.clips >= 3
    assert row.steps is not None
    assert row.steps >= 3 * 4.0 // 0.16 - 3


SYNTHETIC = [
    Answers(chunk_s=[0.010] * 50, final_s=[0.1], said=[0], backlog_s=0.05, audio_s=6.0),
    Answers(chunk_s=[0.020] * 48 + [0.2, 0.3], final_s=[0.2, 0.12], said=[0, 0], backlog_s=0.25, audio_s=6.0),
]
TOOK = {"given_up": False, "cpu_cores": 2.0}


@pytest.mark.parametrize(
    ("slo_ms", "differing", "met"), [(250, 0, True), (250, 1, False), (150, 0, False), (15, 0, False)]
)
def test_figures(slo_ms: int, differing: int, met: bool) -> None:
    found = figures(SYNTHETIC, TOOK, slo_ms, differing)
    assert found.pop("late_chunks") == {250: 1, 150: 2, 15: 50}[slo_ms]
    assert found.pop("slo_met") is met
    assert found == pytest.approx(
        {
            "streams": 2,
            "slo_ms": slo_ms,
            "given_up": False,
            "chunks": 100,
            "chunk_ms_p50": 15.0,
            "chunk_ms_p95": 20.0,
            "chunk_ms_p99": 201.0,
            "final_ms_p50": 120.0,
            "final_ms_p95": 192.0,
            "backlog_ms_max": 250.0,
            "clips": 3,
            "differing": differing,
            "cpu_cores": 2.0,
            "audio_minutes": 0.2,
        }
    )


def rows_of(*met: bool) -> list[StreamsRow]:
    named: dict[str, Any] = {
        "model": "m",
        "weights": "trained",
        "decoder": "ctc",
        "precision": "fp32",
        "backend": "onnxruntime-cpu",
        "lookahead_ms": 80,
        "step_ms_p50": 1.0,
    }
    named |= {"data": "set_en", "lang": "en", "mode": "streams", "functional_check": True}
    measured = [
        figures(SYNTHETIC, TOOK, 250.0, 0) | {"streams": 2**place, "slo_met": each} for place, each in enumerate(met)
    ]
    return [StreamsRow(**named, **keys) for keys in measured]


@pytest.mark.parametrize(
    ("met", "said"),
    [
        ([True, True, False], "2 met 250 ms at p95, 4 did not."),
        ([True, True], "2 met 250 ms at p95: the most that were tried."),
        ([False], "Not even 1 met 250 ms at p95."),
    ],
)
def test_the_largest_number_within_the_bound(met: list[bool], said: str, a_result: ResultFile) -> None:
    rows = rows_of(*met)
    console = Console(width=120, record=True)
    print_written(Written(Path("streams.json"), a_result.with_(rows=rows)), console)
    shown = console.export_text()
    assert said in shown
    assert "no result" in shown
    assert "\u2026" not in shown
    assert [column.cell(rows[0]) for column in STREAMS] == [
        "1",
        "15.0 / 20.0 / 201.0",
        "1.00 / - / -",
        "120.0 / 192.0",
        "1 of 100",
        "250",
        "0 of 3",
        "2.00",
        "-",
        f"250 ms {'met' if met[0] else 'missed'}",
    ]


def test_the_page(a_result: ResultFile, tmp_path: Path) -> None:
    part = [row.with_(limit=2) for row in rows_of(True)]
    write_result(tmp_path / "part.json", a_result.with_(rows=part))
    assert "streams.md" not in question_pages(read_published(tmp_path))
    write_result(tmp_path / "whole.json", a_result.with_(rows=rows_of(True, False)))
    page = question_pages(read_published(tmp_path))["streams.md"]
    assert page.count("m, 80 ms, A CPU, 2 cores, onnxruntime-cpu, fp32:\n\n| Streams | ") == 2
    assert page.count("\n| 2 | ") == 2
    assert "m, 80 ms: 1 met 250 ms at p95, 2 did not." in page


def test_a_run_ends_with_the_first_number_that_misses_the_bound(bundle: Path, tmp_path: Path) -> None:
    argv = ["streams", "--bundle", str(bundle), "--eval", str(SAMPLE), "--backend", "onnxruntime-cpu", "--limit", "2"]
    argv += ["--streams", "1,2", "--seconds", "1.5", "--slo-ms", "0.001", "--out", str(tmp_path), "--name", "x"]
    run(argv)
    result = read_result(tmp_path / "x.json")
    (only,) = result.rows_of(StreamsRow)
    assert (only.mode, only.streams, only.slo_met, only.functional_check) == ("streams", 1, False, True)
    assert only.precision == "fp32"
    assert only.late_chunks == only.chunks
    assert only.cpu_cores
    assert {"chunk_ms", "late_chunks", "differing", "cpu_cores"} <= result.definitions.keys()


def test_no_room_for_more_streams(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Recognizer.stream
    argv = ["streams", "--bundle", str(bundle), "--eval", str(SAMPLE), "--backend", "onnxruntime-cpu", "--limit", "2"]
    argv += ["--streams", "1,2", "--seconds", "1", "--slo-ms", "60000", "--lm", "none", "--out", str(tmp_path / "out")]

    def run_with_room_for(streams: int) -> int:
        made: list[Stream] = []

        def stream(self: Recognizer, *, early: Early) -> Stream:
            if len(made) == streams:
                raise CudaError("cudaMalloc: out of memory")
            made.append(real(self, early=early))
            return made[-1]

        monkeypatch.setattr(Recognizer, "stream", stream)
        return exit_code(lambda: run(argv))

    assert run_with_room_for(0) == 1
    assert not (tmp_path / "out").exists()
    # One stream, those for its audio alone, and the first of two.
    assert run_with_room_for(1 + 1 + 1) == 0
    (file,) = (tmp_path / "out").iterdir()
    assert [row.streams for row in read_result(file).rows_of(StreamsRow)] == [1]
