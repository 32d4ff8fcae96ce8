"""The bench's endpoints: the stream of clips, the verdict on each, whose text and times are whose, and one run on the sample."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.pages.terminal import print_written
from bench.results import read_result
from bench.rows import EndpointRow
from bench.speech.arrivals import Heard, VirtualClock, listen
from bench.speech.clips import Clip, DataSet
from bench.speech.endpoint import Options, Turn, answers, one_after_another, run, verdicts
from data.voiced import Speech
from runtime import Final, InputError, Partial
from runtime.bundle import read_bundle
from runtime.endpoint import EndedBy
from runtime.words import Word

RATE = 16_000
SET = DataSet("set_en", "en", Path("manifest_en.jsonl"), (), 0)


def clip(reference: str, seconds: float = 2.0, speech: Speech | None = Speech(0.5, 1.5)) -> Clip:  # noqa: B008 -- frozen
    return Clip(f"{reference}.wav", np.full(int(seconds * RATE), 0.25, np.float32), RATE, reference, speech)


def test_clips_one_after_another_with_seeded_silences_between() -> None:
    spoken, turns = one_after_another("set_en", [clip("a"), clip("unspoken", speech=None), clip("b", 3.0)], seed=1)
    assert [turn.clip.reference for turn in turns] == ["a", "b"]
    for turn in turns:
        start = round(turn.start_s * RATE)
        np.testing.assert_array_equal(spoken.samples[start : start + len(turn.clip.samples)], turn.clip.samples)
        assert (turn.onset_s - turn.start_s, turn.end_s - turn.start_s) == pytest.approx((0.5, 1.5))
    assert 0.8 <= turns[1].start_s - 2.0 <= 2.0
    again, other = (one_after_another("set_en", [clip("a"), clip("b", 3.0)], seed)[0] for seed in (1, 2))
    np.testing.assert_array_equal(again.samples, spoken.samples)
    assert len(other.samples) != len(again.samples)


TURNS = [Turn(clip("one two"), 0.0, 0.5, 1.5), Turn(clip("three"), 4.0, 4.5, 5.5)]


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
    assert verdicts(TURNS, cuts) == expected


def test_a_frame_that_waited_counts_where_its_push_brought_nothing_too(
    make_time: Callable[..., Any], make_stream: Callable[..., Any]
) -> None:
    timer = make_time()
    # 25 frames of 20 ms. Frame 4 takes 100 ms, so that frame 5 waits 80 ms, brings nothing, and only frame 20 brings an event.
    stream = make_stream(timer, [0.001] * 4 + [0.1] + [0.001] * 20, says={20: ["one"]}, final="one")
    listened = listen(stream, clip("one", 0.5), 20, VirtualClock(timer.timer))
    assert [heard.event.text for heard in listened.heard] == ["one", "one"]
    assert listened.heard[0].begin_s == pytest.approx(listened.heard[0].arrival_s)
    assert listened.backlog_s == pytest.approx(0.08)


def partial(text: str, audio_s: float, arrival_s: float) -> Heard:
    return Heard(Partial(text, (), audio_s), arrival_s, arrival_s, 0.004, arrival_s + 0.005)


def final(text: str, audio_s: float, arrival_s: float, ended_by: EndedBy = "silence") -> Heard:
    words = tuple(Word(word, arrival_s - 1, round(arrival_s - 0.9, 3), 0.5) for word in text.split())
    return Heard(
        Final(text, (), audio_s, words=words, ended_by=ended_by), arrival_s, arrival_s, 0.004, arrival_s + 0.006
    )


def test_text_and_times_of_each_clip(bundle: Path) -> None:
    heard = [
        partial("won", 0.7325, 0.74),
        partial("one too", 1.0525, 1.06),
        final("one too", 2.016, 2.02),
        partial("three", 2.8125, 4.84),
        final("three", 4.0, 6.02),
        final("", 1.0, 7.02),
    ]
    one, three = answers(read_bundle(bundle), TURNS, heard, SET)
    assert (one.hypothesis, one.verdict, three.hypothesis, three.verdict) == ("one too", "found", "three", "found")
    measured = (one.end_decision_ms, one.final_ms, one.final_speech_end_ms, one.first_partial_ms)
    assert measured == pytest.approx((520, 6, 526, 745))
    assert (one.first_partial_onset_ms, one.first_correct_onset_ms) == pytest.approx((245, 565))
    assert (three.first_partial_ms, three.first_correct_onset_ms) == pytest.approx((845, 345))
    assert one.waterfall is not None
    assert sum(one.waterfall.values()) == pytest.approx(245)
    assert (one.data, one.lang, one.mode, one.audio) == ("set_en", "en", "endpoint", "one two.wav")
    assert one.words == (Word("one", 1.02, 1.12, 0.5), Word("too", 1.02, 1.12, 0.5))
    assert three.words == (Word("three", 5.02, 5.12, 0.5),)  # of the stream, as the marks are
    assert (three.start_s, three.onset_s, three.speech_end_s, three.audio_s) == (4.0, 4.5, 5.5, 2.0)


def test_the_end_of_the_stream_ends_no_utterance(bundle: Path) -> None:
    heard = [partial("one", 0.7325, 0.74), final("one too", 2.016, 2.02), final("three", 4.0, 6.02, "caller")]
    one, three = answers(read_bundle(bundle), TURNS, heard, SET)
    assert (one.verdict, three.verdict, three.hypothesis) == ("found", "missed", "three")
    assert (three.end_decision_ms, three.final_ms) == (None, None)


def test_a_missed_end_leaves_its_text_to_the_next_and_times_out(bundle: Path) -> None:
    heard = [partial("one", 0.7325, 0.74), final("one two three", 6.0, 6.02)]
    one, three = answers(read_bundle(bundle), TURNS, heard, SET)
    assert (one.verdict, one.hypothesis, one.final_ms, one.first_partial_ms) == ("missed", "", None, None)
    assert (three.verdict, three.hypothesis, three.first_partial_ms, three.waterfall) == (
        "found",
        "one two three",
        None,
        None,
    )


def test_on_the_sample(bundle: Path, tmp_path: Path) -> None:
    options = Options(bundle=bundle, eval=Path("data/sample"), backend="onnxruntime-cpu", limit=2, out=tmp_path)
    console = Console(width=120, record=True)
    written = run(options, ["endpoint"], console)
    result = read_result(written.path)
    assert result == written.result
    (row,) = result.rows_of(EndpointRow)
    assert (row.found, row.late, row.early, row.missed) == (2, 0, 0, 0)
    assert (row.precision, row.waterfall is None) == ("fp32", False)
    for record in result.utterances:
        assert record.waterfall is not None
        assert sum(record.waterfall.values()) == pytest.approx(record.first_partial_onset_ms, abs=0.01)
    print_written(written, console)
    shown = console.export_text()
    assert "evidence" in shown
    assert max(len(line) for line in shown.splitlines() if not line.startswith("wrote")) <= 120


def test_bad_rules_write_nothing(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="min_silence_ms in whole ms above 0, found -5"):
        run(Options(bundle=bundle, min_silence_ms=-5, out=tmp_path / "out"), [], Console())
    assert not (tmp_path / "out").exists()
