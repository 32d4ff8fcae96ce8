"""Latencies to the microsecond, on a clock and a stream driven by hand."""

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.rows import UtteranceRecord
from bench.score.rates import retracted
from bench.speech.arrivals import Clock, VirtualClock, arrivals, listen
from bench.speech.clips import Clip, DataSet
from bench.speech.recognise import record_of
from data.voiced import Speech
from runtime import Partial, Recognizer
from runtime.backends.base import StepResult
from runtime.errors import InputError
from tests.bench.conftest import FakeTime

RATE = 16_000
MS = 1e-3

SET = DataSet("set_en", "en", Path("manifest_en.jsonl"), (), 0)
Make = Callable[..., Any]


def clip(samples: int, speech: Speech | None = None) -> Clip:
    return Clip("a.wav", np.zeros(samples, np.float32), RATE, "reference", speech)


def fed(time: FakeTime, stream: Any, kind: str, a_clip: Clip, frame_ms: int = 20) -> UtteranceRecord:  # noqa: ANN401
    clock = Clock(time.timer, time.sleep) if kind == "real" else VirtualClock(time.timer)
    return record_of(a_clip, listen(stream, a_clip, frame_ms, clock), SET, "utterance")


@dataclass(frozen=True)
class Case:
    """What pushes and finish cost, and what comes of it, in ms."""

    push: list[float]
    finish: float
    first_partial: float
    final: float
    backlog: float
    catch_up: float = 0


@pytest.mark.parametrize("kind", ["real", "virtual"])
@pytest.mark.parametrize(
    "case",
    [  # 1000 samples, 62.5 ms: frames arrive at 20, 40, 60 and 62.5 ms; the second push brings the first text
        Case([0, 0, 0, 0], 0, first_partial=40, final=0, backlog=0),
        Case([5, 5, 5, 5], 10, first_partial=45, final=17.5, backlog=2.5),  # the last waits for the third, 60 to 65
        # The second waits from 40 to 70, when the third has arrived too; at 71 no other waits.
        Case([50, 1, 1, 1], 1, first_partial=71, final=11.5, backlog=30, catch_up=31),
        Case([15, 15, 15, 15], 30, first_partial=55, final=57.5, backlog=12.5),
    ],
    ids=str,
)
def test_latencies(make_time: Make, make_stream: Make, kind: str, case: Case) -> None:
    time = make_time()
    says = {0: [""], 1: ["he"], 2: ["hello"]}
    stream = make_stream(time, [ms * MS for ms in case.push], case.finish * MS, says, "hello you")
    result = fed(time, stream, kind, clip(1000, Speech(0.030, 0.050)))

    assert stream.frames == [320, 320, 320, 40]
    assert (result.hypothesis, result.reference, result.audio_s) == ("hello you", "reference", 0.0625)
    expected = {
        "first_partial_ms": case.first_partial,
        "first_partial_onset_ms": case.first_partial - 30,
        "final_ms": case.final,
        "final_speech_end_ms": case.final + 62.5 - 50,
        "backlog_ms": case.backlog,
        "catch_up_ms": case.catch_up,
        "busy_s": (sum(case.push) + case.finish) * MS,
    }
    assert {key: getattr(result, key) for key in expected} == pytest.approx(expected, abs=1e-6)
    assert [shown.text for shown in result.partials or ()] == ["he", "hello"]
    assert (result.data, result.lang, result.mode, result.audio) == ("set_en", "en", "utterance", "a.wav")
    assert (result.onset_s, result.speech_end_s) == (0.030, 0.050)


@pytest.mark.parametrize("frame_ms", [20, 25, 30, 40])
def test_frames_hold_every_sample_once(make_time: Make, make_stream: Make, frame_ms: int) -> None:
    time = make_time()
    stream = make_stream(time, [0.0] * 1000)
    fed(time, stream, "virtual", clip(12_345), frame_ms)
    assert sum(stream.frames) == 12_345
    assert set(stream.frames[:-1]) == {16 * frame_ms}


def test_the_real_clock_does_not_drift(make_time: Make, make_stream: Make) -> None:
    time = make_time(oversleep_s=3 * MS)
    result = fed(time, make_stream(time, [1 * MS] * 1000), "real", clip(1000 * 320))
    assert time.now_s - 100.0 == pytest.approx(20.0 + 4 * MS)  # not 20 s and 1000 times 3 ms
    assert result.backlog_ms == pytest.approx(3)
    assert max(time.slept) <= 20 * MS + 1e-9


def test_the_virtual_clock_does_not_wait_and_starts_anew(make_time: Make, make_stream: Make) -> None:
    time = make_time()
    clock = VirtualClock(time.timer)
    results = [listen(make_stream(time, [2 * MS] * 100, 1 * MS), clip(32_000), 20, clock) for _ in range(2)]
    assert time.now_s - 100.0 == pytest.approx(2 * (0.2 + 0.001))
    for result in results:
        assert result.final.end_s - result.final.arrival_s == pytest.approx(3 * MS)


def test_no_text_and_no_marks(make_time: Make, make_stream: Make) -> None:
    time = make_time()
    result = fed(time, make_stream(time, [0.0] * 10, says={3: [""]}), "virtual", clip(3200))
    assert result.hypothesis == ""
    assert result.partials == ()
    assert (result.first_partial_ms, result.first_partial_onset_ms, result.final_speech_end_ms) == (None, None, None)


def test_progress_is_outside_what_is_measured(make_time: Make, make_stream: Make) -> None:
    time, seen = make_time(), []

    def slow(audio_s: float) -> None:
        seen.append(audio_s)
        time.now_s += 1.0

    a_clip = clip(1000)
    listened = listen(make_stream(time, [0.0] * 4), a_clip, 20, VirtualClock(time.timer), on_frame=slow)
    assert seen == pytest.approx([0.02, 0.04, 0.06, 0.0625])
    result = record_of(a_clip, listened, SET, "utterance")
    assert (result.busy_s, result.final_ms, result.backlog_ms) == (0, 0, 0)


def test_steps_are_those_of_each_push(make_time: Make, make_stream: Make) -> None:
    step_s = [1.0]  # of before
    stream = make_stream(make_time(), [0.0] * 4, says={0: ["a"], 1: ["b"], 3: ["c"]})
    push = stream.push

    def stepping(samples: np.ndarray) -> Any:  # noqa: ANN401
        step_s.extend([0.001] * len(stream.frames))
        return push(samples)

    stream.push = stepping
    listened = listen(stream, clip(1000), 20, VirtualClock(lambda: 0.0), step_s=step_s)
    assert [heard.event.text for heard in listened.heard] == ["a", "b", "c", ""]
    assert [heard.step_s for heard in listened.heard] == pytest.approx([0.0, 0.001, 0.003, 0.0])


def test_frames_arrive_from_where_the_audio_begins_and_may_change_until_then() -> None:
    samples = np.zeros(100, np.float32)
    clock = VirtualClock(lambda: 0.0)
    seen = []
    for frame in arrivals(samples, 1000, 40, clock, start_s=3.0):
        seen.append((frame.end, frame.arrival_s, frame.waited_s, frame.samples.max()))
        samples[frame.end :] = frame.end
        clock.wait_until(3.1)  # the first is worked on until the last has arrived
    assert seen == [pytest.approx(row) for row in [(40, 3.04, 0, 0), (80, 3.08, 0.02, 40), (100, 3.1, 0, 80)]]


@pytest.mark.parametrize(("step_s", "comes"), [(0.0, True), (0.04, True), (0.8, False)])
def test_early_text_on_a_virtual_clock(
    bundle: Path, sample: list[tuple[str, np.ndarray]], make_time: Make, step_s: float, comes: bool
) -> None:
    """It comes although the clip is run through faster than it was spoken, and not where recognition is behind."""
    time = make_time()
    with Recognizer(bundle, backend="onnxruntime-cpu", lm=None) as recognizer:
        step = recognizer.backend.step

        def slow(*of: Any) -> StepResult:
            time.now_s += step_s
            return step(*of)

        recognizer.backend.step = slow  # type: ignore[assignment, method-assign]
        stream, a_clip = recognizer.stream(early="eager"), Clip("a.wav", sample[0][1], RATE, "reference", None)
        listened = listen(stream, a_clip, 20, VirtualClock(time.timer))
    assert any(shown.early for shown in listened.partials) == comes


@pytest.mark.parametrize("frame_ms", [0, 10, 19, 41, 50, -20])
def test_frame_lengths_out_of_range(make_time: Make, make_stream: Make, frame_ms: int) -> None:
    time = make_time()
    with pytest.raises(InputError, match=rf"20 to 40 ms, found {frame_ms}"):
        fed(time, make_stream(time, []), "virtual", clip(1000), frame_ms)


SAYS = {1: ["", "he"], 2: ["hell"], 3: ["hello to", "hello two"], 5: ["yellow two", "yellow"], 6: ["yellow"]}


@pytest.mark.parametrize("keep", [True, False])
def test_what_texts_took_back_is_counted_as_they_come(make_time: Make, make_stream: Make, keep: bool) -> None:
    time = make_time()
    stream = make_stream(time, [MS] * 8, says=SAYS, final="yellow dog")
    listened = listen(stream, clip(8 * 320), 20, VirtualClock(time.timer), keep_partials=keep)
    texts = [text for said in SAYS.values() for text in said if text] + ["yellow dog"]
    assert listened.taken_back == sum(retracted(*pair) for pair in pairwise(texts)) == 4
    assert listened.first_text_s == pytest.approx(0.041)
    assert listened.final.event.text == "yellow dog"
    assert [shown.text for shown in listened.partials] == (texts[:-1] if keep else [])


def test_a_long_stream_holds_one_partial(make_time: Make, make_stream: Make) -> None:
    frames = 3000
    time, text = make_time(), "word " * frames
    stream = make_stream(time, [0.0] * frames)
    stream.push = lambda _: [Partial(text[: 5 * len(listened_s)], (), 0.0)]
    listened_s: list[float] = []
    a_clip, clock = clip(frames * 320), VirtualClock(time.timer)
    tracemalloc.start()
    listen(stream, a_clip, 20, clock, on_frame=listened_s.append, keep_partials=False)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{most / 1e6:.1f} MB for partials of {5 * frames**2 / 2e6:.0f} MB in all")
    assert most < 1.5e6
