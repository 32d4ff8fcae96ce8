"""What a row says of its records: by hand, with and without trained weights; rows of several data sets as one."""

from typing import Any

import pytest

from bench.partials import Shown
from bench.rows import EndpointRow, SpeechRow, UtteranceRecord
from bench.score.rates import error_rates, percentiles
from bench.summary import RunningWer, error_keys, first_text_keys, latency_keys, rtf_keys, spread, stands, together


def record(data: str, reference: str, hypothesis: str, **times: Any) -> UtteranceRecord:
    of: dict[str, Any] = {"data": data, "lang": "en", "mode": "utterance", "audio": f"{reference}.wav", "audio_s": 2.0}
    return UtteranceRecord(**of, reference=reference, hypothesis=hypothesis, **times)


ONE = record("a_en", "one two", "one two", busy_s=0.4, first_partial_ms=500.0, final_ms=10.0)
TWO = record("b_en", "three", "free", busy_s=0.2, first_partial_ms=700.0, final_ms=30.0, first_partial_onset_ms=200.0)
RECORDS = [ONE, TWO]


def test_rtf_counts_push_and_finish() -> None:
    silent = record("a_en", "x", "x")
    assert rtf_keys([*RECORDS, silent]) == pytest.approx({"rtf_p50": 0.15, "rtf_p95": 0.195})


def test_a_spread_is_over_what_is_there() -> None:
    found = spread("step_ms", [5.0, None, 1.0, 3.0, 2.0, 4.0], p99=True)
    assert found == pytest.approx({"step_ms_p50": 3.0, "step_ms_p95": 4.8, "step_ms_p99": 4.96})
    assert spread("rtf", []) == {"rtf_p50": None, "rtf_p95": None}


def test_error_rates_are_of_the_records_language() -> None:
    rates = error_rates(["one two", "three"], ["one two", "free"], "en")
    assert error_keys(RECORDS) == {"wer": rates["wer"], "cer": rates["cer"]}
    german = record("a_de", "stra\u00dfe", "strasse").with_(lang="de")
    assert error_keys([german])["wer"] == 100.0
    assert error_keys([]) == {"wer": None, "cer": None}


@pytest.mark.parametrize(("kind", "more"), [(SpeechRow, 1), (EndpointRow, 2)])
def test_latencies_are_those_of_the_kind(kind: type[SpeechRow | EndpointRow], more: int) -> None:
    found = latency_keys(kind, RECORDS, trained=True)
    assert len(found) == 2 * (4 + more)
    assert (found["first_partial_ms_p50"], found["first_partial_onset_ms_p50"], found["final_ms_p95"]) == (600, 200, 29)
    random = latency_keys(kind, RECORDS, trained=False)
    assert {key for key, value in random.items() if value is not None} == {"final_ms_p50", "final_ms_p95"}


def test_first_words_that_were_right() -> None:
    right = record("a_en", "one", "one", first_correct_onset_ms=0.0)
    assert first_text_keys([ONE, right, TWO]) == {"first_correct": 1}


@pytest.mark.parametrize(
    ("shown", "final", "expected"),
    [
        (["on", "one"], "one two", True),
        (["an", "one"], "one two", False),
        (["one two three"], "one two", False),
        ([], "one", True),
        ([], "", False),
        (["one"], "", False),
    ],
)
def test_a_first_text_that_stands(shown: list[str], final: str, expected: bool) -> None:
    partials = tuple(Shown(0.1 * number, text) for number, text in enumerate(shown))
    assert stands(record("a_en", "one two", final, partials=partials)) == expected


def test_a_running_error_rate_looks_at_all_clips_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def error_keys(records: list[UtteranceRecord]) -> dict[str, float]:
        looked.append(len(records))
        return {"wer": 1.0 * len(records)}

    monkeypatch.setattr("bench.summary.error_keys", error_keys)
    running = RunningWer()
    found = [running.of([ONE] * clips) for clips in range(1001)]
    assert found[0] is None
    assert all(wer is not None and 0.94 * clips <= wer <= clips for clips, wer in enumerate(found) if clips)
    assert looked[:3] == [1, 2, 3]
    assert len(looked) < 120


def test_several_data_sets_as_one(a_row: SpeechRow) -> None:
    measured = {"clips": 1, "left_out": 2, "audio_minutes": 0.5, "steps": 7, "churn": 0.1, "step_ms_p50": 3.0}
    rows = [
        a_row.with_(data=data, backlog_ms_max=backlog, peak_host_memory_mb=memory, **measured)
        for data, backlog, memory in (("a_en", 4.0, 1200.0), ("b_en", 9.0, 800.0))
    ]
    (both,) = together(rows, RECORDS)
    assert (both.data, both.lang, both.clips, both.left_out) == ("a_en + b_en", "en", 2, 4)
    assert (both.audio_minutes, both.steps, both.backlog_ms_max) == (1.0, 14, 9.0)
    assert (both.peak_host_memory_mb, both.peak_gpu_memory_mb, both.catch_up_ms_max) == (1200.0, None, None)
    assert both.wer == pytest.approx(100 / 3, abs=1e-5)
    assert (both.rtf_p50, both.final_ms_p95) == (0.15, 29.0)
    assert both.first_partial_ms_p95 == percentiles([500.0, 700.0])["p95"]
    assert (both.churn, both.step_ms_p50) == (None, None)
    assert together(rows[:1], RECORDS) == []
    (random,) = together([row.with_(wer=None) for row in rows], RECORDS)
    assert (random.wer, random.first_partial_ms_p50, random.final_ms_p50) == (None, None, 20.0)
    (unknown,) = together([rows[0].with_(steps=None), rows[1]], RECORDS)
    assert (unknown.steps, unknown.clips) == (None, 2)
