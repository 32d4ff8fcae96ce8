"""The bench's endpoints: the stream of clips, the verdict on each, whose text and times are whose, and one run on the sample."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.speech.feed import Clip, VirtualClock
from bench.speech.onset import Speech
from bench.speech.talk import Heard, Spoken, Talk, listen, talk, verdicts
from rich.console import Console

from bench.results import read_result
from bench.speech.endpoint import EndpointOptions, answers, run_endpoint
from runtime import Final, InputError, Partial
from runtime.bundle import read_bundle

RATE = 16_000


def clip(reference: str, seconds: float = 2.0, speech: Speech | None = Speech(0.5, 1.5)) -> Clip:  # noqa: B008 -- frozen
    return Clip(f"{reference}.wav", np.full(int(seconds * RATE), 0.25, np.float32), RATE, reference, speech)


def test_talk_is_the_clips_with_seeded_silences_between() -> None:
    made = talk("set_en", [clip("a"), clip("unspoken", speech=None), clip("b", 3.0)], seed=1)
    assert [each.clip.reference for each in made.spoken] == ["a", "b"]
    for each in made.spoken:
        start = round(each.start_s * RATE)
        np.testing.assert_array_equal(made.samples[start : start + len(each.clip.samples)], each.clip.samples)
        assert (each.onset_s - each.start_s, each.end_s - each.start_s) == pytest.approx((0.5, 1.5))
    assert 0.8 <= made.spoken[1].start_s - 2.0 <= 2.0
    np.testing.assert_array_equal(talk("set_en", [clip("a"), clip("b", 3.0)], seed=1).samples, made.samples)
    assert len(talk("set_en", [clip("a"), clip("b", 3.0)], seed=2).samples) != len(made.samples)


SPOKEN = [Spoken(clip("one two"), 0.0, 0.5, 1.5), Spoken(clip("three"), 4.0, 4.5, 5.5)]


@pytest.mark.parametrize(
    ("cuts", "expected"),
    [
        ([2.0, 6.0], ["found", "found"]),
        ([1.5, 5.5], ["found", "found"]),
        ([2.6, 7.0], ["late", "late"]),
        ([1.0, 2.0, 6.0], ["early", "found"]),
        ([6.0], ["missed", "found"]),
        ([0.2, 2.0], ["found", "missed"]),
        ([4.6], ["missed", "early"]),
        ([], ["missed", "missed"]),
    ],
)
def test_verdicts(cuts: list[float], expected: list[str]) -> None:
    assert verdicts(SPOKEN, cuts) == expected


def test_a_frame_that_waited_counts_where_its_push_brought_nothing_too(
    make_time: Callable[..., Any], make_stream: Callable[..., Any]
) -> None:
    timer = make_time()
    # 25 frames of 20 ms. Frame 4 takes 100 ms, so that frame 5 waits 80 ms, brings nothing, and only frame 20 brings an event.
    stream = make_stream(timer, [0.001] * 4 + [0.1] + [0.001] * 20, says={20: ["one"]}, final="one")
    audio = Talk(np.zeros(RATE // 2, np.float32), RATE, ())
    listened = listen(stream, audio, 20, VirtualClock(timer.timer), stepped_s=lambda: 0.0)
    assert [each.event.text for each in listened.heard] == ["one", "one"]
    assert listened.heard[0].begin_s == pytest.approx(listened.heard[0].arrival_s)
    assert listened.backlog_ms == pytest.approx(80)


def partial(text: str, audio_s: float, arrival_s: float) -> Heard:
    return Heard(Partial(text, (), audio_s), arrival_s, arrival_s, 0.004, arrival_s + 0.005)


def final(text: str, audio_s: float, arrival_s: float) -> Heard:
    return Heard(Final(text, (), audio_s, "silence"), arrival_s, arrival_s, 0.004, arrival_s + 0.006)


def test_text_and_times_of_each_clip(bundle: Path) -> None:
    heard = [
        partial("won", 0.7325, 0.74),
        partial("one too", 1.0525, 1.06),
        final("one too", 2.016, 2.02),
        partial("three", 2.8125, 4.84),
        final("three", 4.0, 6.02),
        final("", 1.0, 7.02),
    ]
    audio = Talk(np.zeros(7 * RATE, np.float32), RATE, tuple(SPOKEN))
    one, three = answers(read_bundle(bundle), audio, heard, "en")
    assert (one.hypothesis, one.verdict, three.hypothesis, three.verdict) == ("one too", "found", "three", "found")
    measured = (one.end_decision_ms, one.final_ms, one.final_speech_end_ms, one.first_partial_ms)
    assert measured == pytest.approx((520, 6, 526, 745))
    assert (one.first_partial_onset_ms, one.first_correct_onset_ms) == pytest.approx((245, 565))
    assert (three.first_partial_ms, three.first_correct_onset_ms) == pytest.approx((845, 345))
    assert one.waterfall is not None
    assert one.waterfall.total_ms == pytest.approx(245)


def test_a_missed_end_leaves_its_text_to_the_next_and_times_out(bundle: Path) -> None:
    heard = [partial("one", 0.7325, 0.74), final("one two three", 6.0, 6.02)]
    audio = Talk(np.zeros(7 * RATE, np.float32), RATE, tuple(SPOKEN))
    one, three = answers(read_bundle(bundle), audio, heard, "en")
    assert (one.verdict, one.hypothesis, one.final_ms, one.first_partial_ms) == ("missed", "", None, None)
    assert (three.verdict, three.hypothesis, three.first_partial_ms, three.waterfall) == (
        "found",
        "one two three",
        None,
        None,
    )


def test_on_the_sample(bundle: Path, tmp_path: Path) -> None:
    options = EndpointOptions(bundle, Path("data/sample"), backend="onnxruntime-cpu", limit=3, out=tmp_path)
    console = Console(width=120, record=True)
    result = read_result(run_endpoint(options, ["endpoint"], console))
    (row,) = result.rows
    assert (row.found, row.late, row.early, row.missed) == (3, 0, 0, 0)
    assert (row.precision, row.waterfall is None) == ("fp32", False)
    for record in result.utterances:
        assert record.waterfall is not None
        assert sum(record.waterfall.values()) == pytest.approx(record.first_partial_onset_ms, abs=0.01)
    shown = console.export_text()
    assert "evidence" in shown
    assert max(len(line) for line in shown.splitlines() if not line.startswith("wrote")) <= 120


def test_bad_rules_write_nothing(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="min_silence_ms above 0 ms, found -5"):
        run_endpoint(EndpointOptions(bundle, min_silence_ms=-5, out=tmp_path / "out"), [], Console())
    assert not (tmp_path / "out").exists()
