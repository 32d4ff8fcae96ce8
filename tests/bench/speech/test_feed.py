"""Latencies to the microsecond, on a clock and a stream driven by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pytest
from bench.speech.feed import Clip, RealClock, SpeechStream, UtteranceResult, VirtualClock, feed
from bench.speech.onset import Speech

from bench.speech.clips import joined
from runtime.errors import InputError

RATE = 16_000
MS = 1e-3

Make = Callable[..., Any]


def clip(samples: int, speech: Speech | None = None) -> Clip:
    return Clip("a.wav", np.zeros(samples, np.float32), RATE, "reference", speech)


class Time(Protocol):
    """The fake timer of conftest.py."""

    def timer(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


def fed(time: Time, stream: SpeechStream, kind: str, a_clip: Clip, frame_ms: int = 20) -> UtteranceResult:
    clock = RealClock(time.timer, time.sleep) if kind == "real" else VirtualClock(time.timer)
    return feed(stream, a_clip, frame_ms, clock)


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
    assert [text for _, text in result.partials] == ["he", "hello"]


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
    results = [feed(make_stream(time, [2 * MS] * 100, 1 * MS), clip(32_000), 20, clock) for _ in range(2)]
    assert time.now_s - 100.0 == pytest.approx(2 * (0.2 + 0.001))
    assert results[0].final_ms == pytest.approx(3)
    assert results[1].final_ms == pytest.approx(results[0].final_ms)


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

    result = feed(make_stream(time, [0.0] * 4), clip(1000), 20, VirtualClock(time.timer), slow)
    assert seen == pytest.approx([0.02, 0.04, 0.06, 0.0625])
    assert (result.busy_s, result.final_ms, result.backlog_ms) == (0, 0, 0)


@pytest.mark.parametrize("frame_ms", [0, 10, 19, 41, 50, -20])
def test_frame_lengths_out_of_range(make_time: Make, make_stream: Make, frame_ms: int) -> None:
    time = make_time()
    with pytest.raises(InputError, match=rf"20 to 40 ms, found {frame_ms}"):
        fed(time, make_stream(time, []), "virtual", clip(1000), frame_ms)


def test_clips_join_end_to_end() -> None:
    one = Clip("a", np.full(3, 0.1, np.float32), RATE, "one", Speech(0, 1))
    two = Clip("b", np.full(2, 0.2, np.float32), RATE, "Two.", None)
    stream = joined("set_en", [one, two])
    np.testing.assert_array_equal(stream.samples, np.array([0.1, 0.1, 0.1, 0.2, 0.2], np.float32))
    assert (stream.name, stream.reference, stream.speech, stream.sample_rate) == ("set_en", "one Two.", None, RATE)
