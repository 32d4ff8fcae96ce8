"""`python -m bench compare`: what two files have in common, WER with its interval, times relative; bad pairs in one line."""

from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import run
from bench.pages.compare import Change, Comparison, beyond_noise, compare
from bench.results import ResultFile, write_result
from bench.rows import Row, UtteranceRecord
from bench.score.rates import percentiles
from runtime.errors import InputError, exit_code
from tests.bench.rows import changed

SAID = {"one_en": ["a b c d", "e f"], "two_en": ["g h i", "j"]}  # references by data set


def result(base: ResultFile, wrong: int, data: tuple[str, ...] = ("one_en", "two_en"), **update: object) -> ResultFile:
    """A run of these data sets whose first `wrong` words of each clip are wrong."""
    rows = [changed(base.rows[0], {"data": each} | update) for each in data]
    records = [
        UtteranceRecord(
            data=each,
            lang="en",
            mode="utterance",
            audio=f"{place}.wav",
            reference=text,
            hypothesis=" ".join(["x"] * wrong + text.split()[wrong:]),
            audio_s=1.0,
        )
        for each in data
        for place, text in enumerate(SAID[each])
    ]
    return base.model_copy(update={"rows": rows, "utterances": records})


def test_every_data_set_and_all_of_them(a_result: ResultFile) -> None:
    a, b = result(a_result, 0), result(a_result, 1, rtf_p50=0.01, rtf_p95=None)
    one, two, both = compare(a, b)
    assert (one.data, two.data, both.data) == (
        "one_en, utterances",
        "two_en, utterances",
        "one_en + two_en, utterances",
    )
    for found, words, expected in ((one, 6, 2 / 6), (two, 4, 2 / 4), (both, 10, 4 / 10)):
        assert found.difference is not None
        assert found.difference.words == words
        assert found.difference.points == pytest.approx(100 * expected)
    assert one.figures == {
        "rtf_p50": Change(0.04, 0.01, None),  # without the clips' own no interval
        "final_ms_p50": Change(7.5, 7.5, None),
        "final_ms_p95": Change(9.25, 9.25, None),
    }
    assert both.figures == {}


def timed(base: ResultFile, seed: int, slower_ms: float) -> ResultFile:
    """40 clips in two data sets, whose finals take 50 ms and `slower_ms` more, with a spread of 2 ms; first partials in half of them."""
    rng = np.random.default_rng(seed)
    records = []
    for place, late in enumerate(rng.normal(50 + slower_ms, 2, 40)):
        record = UtteranceRecord(
            data=("one_en", "two_en")[place % 2],
            lang="en",
            mode="utterance",
            audio=f"{place}.wav",
            reference="a b",
            hypothesis="a b",
            audio_s=2.0,
            busy_s=0.1,
            final_ms=late,
            first_partial_onset_ms=None if place % 4 < 2 else 300 + late,
        )
        records.append(record)
    rows = []
    for data in ("one_en", "two_en"):
        found = percentiles(each.final_ms for each in records if each.data == data)
        rows.append(changed(base.rows[0], {"data": data, "final_ms_p50": found["p50"], "final_ms_p95": found["p95"]}))
    return base.model_copy(update={"rows": rows, "utterances": records})


@pytest.mark.parametrize(("slower_ms", "beyond"), [(0.0, False), (10.0, True)])
def test_latencies_beyond_noise(a_result: ResultFile, slower_ms: float, beyond: bool) -> None:
    one, _, both = compare(timed(a_result, 1, 0.0), timed(a_result, 2, slower_ms))
    for found in (one, both):
        p50 = found.figures["final_ms_p50"]
        assert p50.interval is not None
        assert p50.interval[0] < p50.b - p50.a < p50.interval[1]
        assert beyond_noise(p50.interval) is beyond
    assert one.figures["rtf_p50"] == Change(0.04, 0.04, (0.0, 0.0))
    assert beyond_noise(one.figures["rtf_p50"].interval) is False
    assert both.figures["rtf_p50"] == Change(0.05, 0.05, (0.0, 0.0))  # of the clips: no row sums up both
    assert beyond_noise(both.figures["first_partial_onset_ms_p95"].interval) is beyond
    assert "first_partial_onset_ms_p95" not in one.figures  # its row has none


def test_clips_of_random_weights_must_be_the_same_too(a_result: ResultFile) -> None:
    a, b = result(a_result, 0, wer=None), result(a_result, 0, wer=None)
    with pytest.raises(InputError, match="expected the same clips"):
        compare(a, b.model_copy(update={"utterances": b.utterances[1:]}))


def test_only_what_both_have(a_result: ResultFile) -> None:
    a, b = result(a_result, 0), result(a_result, 1, data=("two_en",))
    assert [each.data for each in compare(a, b)] == ["two_en, utterances"]


def test_random_weights_have_times_only(a_result: ResultFile) -> None:
    a, b = result(a_result, 0, wer=None), result(a_result, 0, wer=None)
    assert [each.difference for each in compare(a, b)] == [None, None, None]


def test_steps_are_told_apart_by_pace_and_rungs_by_name(a_row: Row, a_result: ResultFile) -> None:
    steps = [
        changed(
            a_row,
            {"mode": "steps", "pace": pace, "rung": rung, "cuda_graph": graph, "step_ms_p50": 1.0 + place}
            | {"wer": None},
        )
        for place, (pace, rung, graph) in enumerate(
            [("fast", "eager", False), ("realtime", "eager", False), ("fast", "graph", True), ("fast", "graph", False)]
        )
    ]
    faster = [changed(row, {"step_ms_p50": 0.5}) for row in steps[::-1]]
    found = compare(*(a_result.model_copy(update={"rows": rows}) for rows in (steps, faster)))
    assert [each.figures["step_ms_p50"] for each in found] == [Change(a, 0.5, None) for a in (1.0, 2.0, 3.0, 4.0)]
    assert found[2] == Comparison("graph, fp32, set_en, steps, fast, CUDA graph", None, found[2].figures)


def test_streams_are_told_apart_by_their_number(a_row: Row, a_result: ResultFile) -> None:
    update = {"mode": "streams", "wer": None, "rtf_p50": None, "rtf_p95": None, "final_ms_p50": None}
    rows = [
        changed(a_row, update | {"streams": each, "chunk_ms_p50": 1.0 * each, "chunk_ms_p99": 3.0 * each})
        for each in (1, 64, 128)
    ]
    slower = [changed(row, {"chunk_ms_p50": 500.0}) for row in rows[:0:-1]]  # 128 and 64 streams
    first, second = compare(*(a_result.model_copy(update={"rows": each}) for each in (rows, slower)))
    assert (first.data, second.data) == ("set_en, 64 streams", "set_en, 128 streams")
    assert first.figures == {
        "chunk_ms_p50": Change(64.0, 500.0, None),
        "chunk_ms_p99": Change(192.0, 192.0, None),
        "final_ms_p95": Change(9.25, 9.25, None),
    }
    assert second.figures["chunk_ms_p50"] == Change(128.0, 500.0, None)


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"data": ("three_en",)}, "found one_en, utterances; .* in A and three_en, utterances in B$"),
        ({"limit": 1}, "found one_en, utterances; two_en, utterances in A and one_en, utterances, first 1; .* in B$"),
        ({"data": ("one_en", "one_en")}, "expected one row of one_en, utterances in a result file, found two"),
    ],
)
def test_nothing_to_compare(
    a_result: ResultFile, update: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SAID, "three_en", ["a"])
    with pytest.raises(InputError, match=message) as caught:
        compare(result(a_result, 0), result(a_result, 0, **update))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_command_prints_both_tables(
    a_result: ResultFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    write_result(paths[0], result(a_result, 0))
    write_result(paths[1], result(a_result, 1, rtf_p50=0.01, functional_check=False))
    argv = ["compare", *map(str, paths)]
    assert exit_code(lambda: run(argv)) == 0
    said = capsys.readouterr().out
    assert max(len(each) for each in said.splitlines() if "│" in each) <= 120
    assert "m, 80 ms, fp32 on onnxruntime-cpu, greedy, pace fast; A CPU, 2 cores" in said
    assert "│ one_en + two_en, utterances │       0.00 │ 40.00 │" in said
    assert "+40.00 (" in said
    assert "-75.0 %" in said
    assert "these figures are no result" in said


def test_files_of_other_clips(a_result: ResultFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(tmp_path / "a.json", result(a_result, 0))
    write_result(tmp_path / "other.json", result(a_result, 0).model_copy(update={"utterances": []}))
    argv = ["compare", str(tmp_path / "a.json"), str(tmp_path / "other.json")]
    assert exit_code(lambda: run(argv)) == 2
    error = capsys.readouterr().err
    assert "both" in error
    assert error.count("\n") == 1
