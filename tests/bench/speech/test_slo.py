"""Bounds on a run's figures: which rows they are of, what misses them, and the run that exits 1."""

import json
from pathlib import Path

import pytest

from bench.__main__ import run
from bench.rows import SpeechRow
from bench.speech.slo import KEYS, missed_lines, read_bounds
from runtime.errors import InputError

GPU: dict[str, object] = {"functional_check": False, "first_partial_onset_ms_p95": 420.8, "peak_gpu_memory_mb": 587.2}
STREAM: dict[str, object] = {"mode": "continuous", "final_ms_p95": None, "rtf_p95": 0.3}


def test_the_keys_are_those_of_a_row() -> None:
    assert set(KEYS.values()) <= SpeechRow.model_fields.keys()


def test_bounds_are_read() -> None:
    assert read_bounds("first_partial_p95=300, rtf_p95=0.2") == {"first_partial_p95": 300.0, "rtf_p95": 0.2}
    assert read_bounds(None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found ''"),
        ("first_partial=300", "expected KEY=LIMIT with a key of first_partial_p50, .* found 'first_partial=300'"),
        ("wer=40,", "found ''"),
        ("wer=40,wer=50", "expected one limit for wer, found two"),
        *[(f"wer={limit}", "expected wer=LIMIT with a number from 0 on") for limit in ("", "low", "nan", "inf", "-1")],
    ],
)
def test_bad_bounds(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_bounds(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bound", "update", "expected"),
    [
        ("final_p95=9.25", {}, []),
        ("final_p95=9", {}, ["missed final_p95: set_en, utterances: 9.25 ms on a CPU, bound 9 ms"]),
        ("wer=12", {}, ["missed wer: set_en, utterances: 12.3457 %, bound 12 %"]),
        ("rtf_p95=0.01", GPU, ["missed rtf_p95: set_en, utterances: 0.05, bound 0.01"]),
        ("first_partial_p95=300", GPU, ["missed first_partial_p95: set_en, utterances: 420.8 ms, bound 300 ms"]),
        ("first_partial_p95=500,gpu_memory=600", GPU, []),
        ("step_p50=5", {}, ["missed step_p50: set_en, utterances: not measured, bound 5 ms"]),
        ("gpu_memory=5", {}, ["missed gpu_memory: set_en, utterances: not measured (no GPU), bound 5 MB"]),
        (
            "first_partial_p50=300,wer=40",
            {"weights": "random", "wer": None},
            [
                "missed first_partial_p50: set_en, utterances: not measured (random weights), bound 300 ms",
                "missed wer: set_en, utterances: not measured (random weights), bound 40 %",
            ],
        ),
        (
            "final_p95=9",
            STREAM,
            [
                "missed final_p95: set_en, one stream: not measured (one stream has a single one: --mode utterance), bound 9 ms"
            ],
        ),
    ],
)
def test_what_misses(a_row: SpeechRow, bound: str, update: dict[str, object], expected: list[str]) -> None:
    assert missed_lines(read_bounds(bound), [a_row.with_(**update)]) == expected


def test_each_row_is_judged_by_what_it_can_have(a_row: SpeechRow) -> None:
    rows = [a_row, a_row.with_(**STREAM), a_row.with_(data="two_en", rtf_p95=0.4)]
    assert missed_lines(read_bounds("final_p95=10"), rows) == []
    assert missed_lines(read_bounds("rtf_p95=0.2"), rows) == [
        "missed rtf_p95: set_en, one stream: 0.3 on a CPU, bound 0.2",
        "missed rtf_p95: two_en, utterances: 0.4 on a CPU, bound 0.2",
    ]


@pytest.mark.parametrize(("limits", "kept"), [("final_p95=60000,rtf_p95=100", True), ("rtf_p95=0,final_p95=0", False)])
def test_a_run_fails_after_it_has_written(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], limits: str, kept: bool
) -> None:
    argv = ["run", "--bundle", str(bundle), "--eval", "data/sample", "--backend", "onnxruntime-cpu", "--limit", "1"]
    argv += ["--mode", "utterance", "--out", str(tmp_path), "--name", "x", "--slo", limits]
    if kept:
        run(argv)
        assert f"kept {limits}; functional check on the CPU" in capsys.readouterr().out
    else:
        with pytest.raises(SystemExit) as caught:
            run(argv)
        first, second = str(caught.value.code).splitlines()  # a text: the interpreter prints it and exits with 1
        assert first.startswith("missed rtf_p95: sample_en, utterances, first 1: ")
        assert second.endswith(" ms on a CPU, bound 0 ms")
    assert json.loads((tmp_path / "x.json").read_text())["rows"]
