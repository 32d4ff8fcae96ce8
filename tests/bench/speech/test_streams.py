"""Streams at once: when frames are pushed, no cross-talk on the fake GPU and on onnxruntime, what the report says, and bad options."""

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, cast

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
from bench.speech.answers import GIVE_UP_S, Answers
from bench.speech.arrivals import Clock, VirtualClock
from bench.speech.clips import Clip, DataSet
from bench.speech.fed import Fed, FedStream, feed
from bench.speech.share import Piece, Streams, pieces
from bench.speech.speech_session import SpeechData, SpeechSession
from bench.speech.streams import Options, figures, row_of
from bench.stopwatch import TimedRecognizer
from data.manifest import read_manifest
from runtime.audio import load_audio
from runtime.backends import Backend
from runtime.bundle import Bundle, read_bundle
from runtime.errors import CudaError, exit_code
from tests.runtime.rig import Host, Rig, add_batched

T = TypeVar("T")

SAMPLE = Path("data/sample")


@pytest.fixture
def toy(folder: Path) -> Bundle:
    """1 kHz, a first step after 15 samples, then one every 20."""
    return read_bundle(folder)


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


class ToyStream:
    """Notes what it is fed, and when; its finals come `lag_s` after each end."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.fed: list[tuple[float, float, int]] = []
        """When, when it arrived, and how many samples."""
        self.ended: list[float] = []
        self.closed = False

    def feed(self, samples: np.ndarray, arrived_s: float) -> None:
        self.fed.append((self._clock.now(), arrived_s, len(samples)))
        self._clock.wait_until(self._clock.now() + 0.004)

    def feed_end(self) -> None:
        self.ended.append(self._clock.now())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    """A clock that a task's sleep moves."""
    virtual = VirtualClock()

    async def sleep(seconds: float) -> None:
        virtual.wait_until(virtual.now() + seconds)

    monkeypatch.setattr("bench.speech.fed.asyncio.sleep", sleep)
    return virtual


def looped(work: Coroutine[Any, Any, T]) -> T:
    """Run it in an event loop of its own thread: in this one the browser of pages' tests may have its loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def fed(clock: VirtualClock, starts_s: Sequence[float], *lengths: int) -> list[Fed]:
    """Streams of utterances of these lengths at 1 kHz, in frames of 10."""
    utterances = [np.zeros(length, np.int16) for length in lengths]
    return [Fed(cast("FedStream", ToyStream(clock)), utterances, start_s, 1000, 10) for start_s in starts_s]


def test_frames_come_on_absolute_deadlines(clock: VirtualClock) -> None:
    streams = fed(clock, [0.0, 0.003], 25, 40)
    assert looped(feed(streams, clock)) is False
    for start_ms, each in zip((0, 3), streams, strict=True):
        toy = cast("ToyStream", each.stream)
        assert [samples for *_, samples in toy.fed] == [10, 10, 5, 10, 10, 10, 10]
        arrived = [1e3 * arrived_s - start_ms for _, arrived_s, _ in toy.fed]
        assert arrived == pytest.approx([10, 20, 25, 35, 45, 55, 65])
        assert len(toy.ended) == 2
    # Each frame takes 4 ms: the second stream's, 3 ms after the first's, wait for a millisecond; where both have a
    # short one they queue, and the clock does not run away from the deadlines.
    first, second = ([1e3 * at_s for at_s, *_ in cast("ToyStream", each.stream).fed] for each in streams)
    assert first == pytest.approx([10, 20, 28, 36, 45, 55, 65])
    assert second == pytest.approx([14, 24, 32, 40, 49, 59, 69])
    assert 1e3 * streams[1].answers.backlog_s == pytest.approx(4)


def test_a_run_that_falls_behind_is_given_up(clock: VirtualClock) -> None:
    streams = fed(clock, [0.001 * place for place in range(4)], 500_000)
    assert looped(feed(streams, clock)) is True
    backlog_s = max(each.answers.backlog_s for each in streams)
    assert GIVE_UP_S - 0.01 < backlog_s < GIVE_UP_S + 0.01


def noise(clips: int) -> list[Clip]:
    rng = np.random.default_rng(0)
    return [
        Clip("", 0.1 * rng.standard_normal(200 + 37 * place).astype(np.float32), 1000, "", None)
        for place in range(clips)
    ]


def measured(
    recognizer: TimedRecognizer, folder: Path, clips: list[Clip], streams: int, seconds: float, **asked: Any
) -> StreamsRow:
    options = Options(bundle=folder, backend="onnxruntime-cpu", precision="fp32", seconds=seconds, **asked)
    data = [cast("DataSet", Clips(clips))]
    session = SpeechSession(options, SpeechData(folder, data, [], []), recognizer, Console())
    return row_of(options, [Streams(session, options).feed(streams, clock=Clock())])


class Clips:
    """A data set of these."""

    name, left_out = "toys", 0

    def __init__(self, clips: list[Clip]) -> None:
        self._clips = clips

    def load(self, _: int, *, mark_speech: bool) -> list[Clip]:
        assert not mark_speech
        return self._clips


def on_a_backend(folder: Path, backend: Backend, clips: list[Clip], streams: int) -> StreamsRow:
    with TimedRecognizer(folder, backend=backend, lm=None) as recognizer:
        return measured(recognizer, folder, clips, streams, 0.7)


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("together", [False, True])
def test_no_cross_talk_on_the_gpu(rig: Rig, streams: int, together: bool) -> None:
    if together:
        add_batched(rig.folder)
    backend = rig.open_batched(4) if together else rig.open()
    row = on_a_backend(rig.folder, backend, noise(5), streams)
    assert (row.streams, row.differing) == (streams, 0)
    assert row.clips is not None
    assert row.compared is not None
    assert row.chunks is not None
    assert row.steps is not None
    assert row.clips >= 3 * streams
    assert row.compared >= row.clips - streams
    assert row.chunks <= row.steps <= row.chunks + row.clips
    assert row.audio_minutes == pytest.approx(streams * 0.7 / 60, abs=1e-5)
    assert (row.streams_in_run is not None) is together
    assert row.run_share


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


def test_cross_talk_is_found(folder: Path) -> None:
    row = on_a_backend(folder, Mixing(), noise(5), 2)
    assert row.differing
    assert row.slo_met is False


@pytest.mark.usefixtures("every_step_is_taken")
def test_no_cross_talk_in_onnxruntime(batched_bundle: Path) -> None:
    """A beam, an n-gram and voice activity of all."""
    spoken = [
        Clip(each.audio.name, load_audio(each.audio), 16_000, each.text, None)
        for each in sorted(read_manifest(SAMPLE / "manifest_en.jsonl"), key=attrgetter("duration"))[:3]
    ]
    with TimedRecognizer(batched_bundle, precision="fp32", backend="onnxruntime-cpu", max_streams=3) as recognizer:
        row = measured(recognizer, batched_bundle, spoken, 3, 2.5, endpoints=True, early="steady", batched=True)
    assert row.differing == 0
    assert row.compared == 3
    assert row.steps is not None
    assert row.steps >= 3 * 2.5 // 0.16 - 3


SYNTHETIC = [
    Answers(chunk_s=[0.010] * 50, final_s=[0.1], said=[b""], backlog_s=0.05, audio_s=6.0),
    Answers(chunk_s=[0.020] * 48 + [0.2, 0.3], final_s=[0.2, 0.12], said=[b"", b""], backlog_s=0.25, audio_s=6.0),
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
        f"250 ms {'met' if met[0] else 'missed'}",
        "1 of 100",
        "250",
        "0 of 3",
        "-",
        "-",
        "2.00",
        "-",
    ]


def test_the_page(a_result: ResultFile, tmp_path: Path) -> None:
    part = [row.with_(limit=2) for row in rows_of(True)]
    write_result(tmp_path / "part.json", a_result.with_(rows=part))
    assert "streams.md" not in question_pages(read_published(tmp_path))
    write_result(tmp_path / "whole.json", a_result.with_(rows=rows_of(True, False)))
    page = question_pages(read_published(tmp_path))["streams.md"]
    assert page.count("m, 80 ms, A CPU, 2 cores, onnxruntime-cpu, fp32, steps apart:\n\n| Streams | ") == 2
    assert page.count("\n| 2 | ") == 2
    assert "m, 80 ms, steps apart: 1 met 250 ms at p95, 2 did not." in page


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


def test_steps_of_all_streams_run_together(batched_bundle: Path, tmp_path: Path) -> None:
    argv = ["streams", "--bundle", str(batched_bundle), "--eval", str(SAMPLE), "--backend", "onnxruntime-cpu"]
    argv += ["--limit", "2", "--batched", "--lm", "none", "--streams", "3", "--seconds", "1.5", "--slo-ms", "60000"]
    run([*argv, "--out", str(tmp_path), "--name", "x"])
    (row,) = read_result(tmp_path / "x.json").rows_of(StreamsRow)
    assert (row.streams, row.batched, row.differing) == (3, True, 0)
    assert row.streams_in_run


def test_processes_share_the_streams(batched_bundle: Path, tmp_path: Path) -> None:
    argv = ["streams", "--bundle", str(batched_bundle), "--eval", str(SAMPLE), "--backend", "onnxruntime-cpu"]
    argv += ["--limit", "1", "--batched", "--lm", "none", "--streams", "3", "--seconds", "1.5", "--slo-ms", "60000"]
    run([*argv, "--processes", "2", "--out", str(tmp_path), "--name", "x"])
    (row,) = read_result(tmp_path / "x.json").rows_of(StreamsRow)
    assert (row.streams, row.processes, row.differing) == (3, 2, 0)
    assert row.steps is not None
    assert row.chunks is not None
    assert row.steps >= row.chunks > 0
    assert row.audio_minutes == pytest.approx(3 * 1.5 / 60, abs=1e-5)


def test_no_room_for_more_streams(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["streams", "--bundle", str(bundle), "--eval", str(SAMPLE), "--backend", "onnxruntime-cpu", "--limit", "2"]
    argv += ["--streams", "1,2", "--seconds", "1", "--slo-ms", "60000", "--lm", "none", "--out", str(tmp_path / "out")]

    def run_with_room_for(streams: int) -> int:
        made: list[FedStream] = []

        class Made(FedStream):
            def __init__(self, *given: Any) -> None:
                if len(made) == streams:
                    raise CudaError("cudaMalloc: out of memory")
                super().__init__(*given)
                made.append(self)

        monkeypatch.setattr("bench.speech.share.FedStream", Made)
        return exit_code(lambda: run(argv))

    assert run_with_room_for(0) == 1
    assert not (tmp_path / "out").exists()
    assert run_with_room_for(1 + 1) == 0  # the one, and the first of two
    (file,) = (tmp_path / "out").iterdir()
    assert [row.streams for row in read_result(file).rows_of(StreamsRow)] == [1]
