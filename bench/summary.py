"""What a row says of its utterances' records: error rates, latencies, real-time factors; rows of several data sets as one."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from bench.rows import SEVERAL, OnSpeech, SpeechRow, UtteranceRecord
from bench.score.rates import churn, error_rates, percentiles, retracted

Keys = dict[str, Any]
"""Keys of a row and their values."""
LATENCIES = (
    "first_partial_ms",
    "first_partial_onset_ms",
    "first_correct_onset_ms",
    "final_ms",
    "final_speech_end_ms",
    "end_decision_ms",
)
"""Keys of records."""
OF_TEXT = "first_"
"""Latencies with this prefix are none where the weights are random."""
OF_THE_STEPS = (
    *("step_ms_p50", "step_ms_p95", "step_ms_p99", "early_step_ms_p50", "early_step_ms_p95"),
    *("decode_ms_p50", "decode_ms_p95"),
)
"""Keys of rows that records do not tell."""


def spread(key: str, values: Iterable[float | None], *, p99: bool = False) -> Keys:
    """Return keys of a row: p50 and p95 of what is called `key`, if asked p99 too, over the values that are there."""
    return {f"{key}_{percent}": value for percent, value in percentiles(values).items() if p99 or percent != "p99"}


def error_keys(records: Sequence[UtteranceRecord]) -> Keys:
    """Return a row's error rates, of utterances in one language; none of no utterances."""
    lang = records[0].lang if records else ""
    return error_rates([record.reference for record in records], [record.hypothesis for record in records], lang)


class RunningWer:
    """The WER of clips so far, for a progress bar: computed again once there are a twentieth more, as that takes a look at all of them."""

    def __init__(self) -> None:
        self._wer: float | None = None
        self._again = 1

    def of(self, records: Sequence[UtteranceRecord]) -> float | None:
        """Return it, in percent; None of no clips."""
        if len(records) >= self._again:
            self._wer = error_keys(records)["wer"]
            self._again = len(records) + len(records) // 20 + 1
        return self._wer


def latency_keys(kind: type[OnSpeech], records: Sequence[UtteranceRecord], *, trained: bool) -> Keys:
    """Return the latencies that a kind of row has; without trained weights those of first texts are None."""
    keys: Keys = {}
    for name in LATENCIES:
        if f"{name}_p50" in kind.model_fields:
            timed = records if trained or not name.startswith(OF_TEXT) else []
            keys |= spread(name, (getattr(record, name) for record in timed))
    return keys


def first_text_keys(records: Sequence[UtteranceRecord]) -> Keys:
    """Return how many clips had a first word that was right at some time."""
    return {"first_correct": sum(record.first_correct_onset_ms is not None for record in records)}


def stands(record: UtteranceRecord) -> bool:
    """Return whether a clip's first text stands in its final; a clip without any has none that does."""
    first = next((partial.text for partial in record.partials or ()), record.hypothesis)
    return bool(first) and record.hypothesis.startswith(first)


def rtf_keys(records: Iterable[UtteranceRecord]) -> Keys:
    """Return a row's real-time factors: busy seconds (push and finish) per second of audio, utterance by utterance."""
    return spread("rtf", (record.busy_s / record.audio_s for record in records if record.busy_s is not None))


def _churn(records: Sequence[UtteranceRecord]) -> float | None:
    """Return the churn of clips whose partials were kept; None where one's were not."""
    taken_back = 0
    for record in records:
        if record.partials is None:
            return None
        texts = [*(partial.text for partial in record.partials), record.hypothesis]
        taken_back += sum(retracted(before, after) for before, after in pairwise(texts))
    return churn(taken_back, (record.hypothesis for record in records))


def together(rows: Sequence[SpeechRow], records: Sequence[UtteranceRecord]) -> list[SpeechRow]:
    """Return a row of several data sets as one, all clip by clip and in one language; none for a single one.

    What the records do not say of it, such as the steps' times, is None.
    """
    if len(rows) < 2:
        return []
    trained = all(row.wer is not None for row in rows)
    summed: Keys = dict.fromkeys(OF_THE_STEPS)
    for key in ("clips", "left_out", "audio_minutes", "steps", "first_correct", "first_stands"):
        values = [getattr(row, key) for row in rows]
        summed[key] = None if None in values else sum(values)
    for key in ("backlog_ms_max", "catch_up_ms_max", "peak_gpu_memory_mb", "peak_host_memory_mb"):
        summed[key] = max((value for row in rows if (value := getattr(row, key)) is not None), default=None)
    summed["churn"] = _churn(records)
    if rows[-1].early_steps_per_chunk is not None and summed["steps"]:
        early = sum((row.early_steps_per_chunk or 0.0) * (row.steps or 0) for row in rows)
        summed["early_steps_per_chunk"] = early / summed["steps"]
    summed |= error_keys(records if trained else []) | rtf_keys(records)
    summed |= latency_keys(SpeechRow, records, trained=trained)
    return [rows[-1].with_(data=SEVERAL.join(row.data for row in rows), **summed)]
