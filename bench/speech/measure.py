"""One data set through one recogniser, clip by clip or as one stream: the row and the records of the result file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from rich.console import Console

from bench.process import gpu_memory_mb, peak_host_memory_mb
from bench.progress import Bar
from bench.results import SEVERAL, Row, UtteranceRecord, calibration_of, row
from bench.score.churn import churn
from bench.score.rates import ErrorRates, Percentiles, error_rates, percentiles, rtf_per_utterance, rtf_per_window
from bench.speech.clips import DataSet, joined
from bench.speech.feed import Clip, Clock, RealClock, UtteranceResult, VirtualClock, feed
from bench.stopwatch import TimedRecognizer
from runtime.bundle import Bundle

Mode = Literal["utterance", "continuous"]
Pace = Literal["realtime", "fast"]


@dataclass(frozen=True)
class Setting:
    """How to measure."""

    lang: str
    frame_ms: int
    pace: Pace
    precision: str
    limit: int | None  # first clips of each data set; None: all


@dataclass(frozen=True)
class Measured:
    """A data set in one mode."""

    row: Row
    records: list[UtteranceRecord]


def on_gpu(backend: str) -> bool:
    """Whether a backend of this name computes on a GPU: if not, its times are a functional check."""
    return not backend.endswith("-cpu")


def is_trained(bundle: Bundle) -> bool:
    """Whether its texts are an answer to the speech: if not, rows have neither error rates nor figures of first texts."""
    return bundle.checkpoint.weights == "trained"


@dataclass(frozen=True)
class Bench:
    """An open recogniser and how to measure it."""

    recognizer: TimedRecognizer
    setting: Setting
    console: Console  # for the progress bars

    def measure(self, data_set: DataSet, clips: list[Clip], mode: Mode) -> Measured:
        """Feed all clips, each to its Final or all as one stream, and reduce what was seen to a row."""
        recognizer, setting = self.recognizer, self.setting
        bundle, timed = recognizer.bundle, recognizer.timed
        fed = clips if mode == "utterance" else [joined(data_set.name, clips)]
        timed.step_s.clear()
        recognizer.decode_s.clear()
        bar = Bar(self.console, f"{data_set.name} {mode}", len(clips), _seconds(clips))
        results = self._feed_all(fed, mode, bar)
        rates = self._rates(results)
        step = percentiles(seconds * 1e3 for seconds in timed.step_s)
        decode = percentiles(seconds * 1e3 for seconds in recognizer.decode_s)
        one_stream = mode == "continuous"
        rtf = percentiles(rtf_per_window(results[0], setting.frame_ms) if one_stream else rtf_per_utterance(results))
        latencies = [] if one_stream else results  # a stream has one first partial and one final: no distribution
        spoken = latencies if is_trained(bundle) else []
        return Measured(
            row(
                **what_runs(recognizer, setting.precision),
                frame_ms=setting.frame_ms,
                pace=setting.pace,
                data=data_set.name,
                wer=rates.wer,
                cer=rates.cer,
                rtf_p50=rtf.p50,
                rtf_p95=rtf.p95,
                step_ms_p50=step.p50,
                step_ms_p95=step.p95,
                step_ms_p99=step.p99,
                decode_ms_p50=decode.p50,
                decode_ms_p95=decode.p95,
                churn=churn([[*(text for _, text in each.partials), each.hypothesis] for each in results]),
                **latency("first_partial_ms", percentiles(each.first_partial_ms for each in spoken)),
                **latency("first_partial_onset_ms", percentiles(each.first_partial_onset_ms for each in spoken)),
                **latency("final_ms", percentiles(each.final_ms for each in latencies)),
                **latency("final_speech_end_ms", percentiles(each.final_speech_end_ms for each in latencies)),
                peak_gpu_memory_mb=gpu_memory_mb() if on_gpu(timed.name) else None,
                peak_host_memory_mb=peak_host_memory_mb(),
                mode=mode,
                clips=len(clips),
                left_out=data_set.left_out,
                limit=setting.limit,
                audio_minutes=_seconds(clips) / 60,
                backlog_ms_max=max(result.backlog_ms for result in results),
                catch_up_ms_max=max(result.catch_up_ms for result in results),
                steps=len(timed.step_s),
            ),
            [_record(result, data_set.name, mode) for result in results],
        )

    def _feed_all(self, fed: list[Clip], mode: Mode, bar: Bar) -> list[UtteranceResult]:
        clock: Clock = RealClock() if self.setting.pace == "realtime" else VirtualClock()
        stream = self.recognizer.stream()
        results: list[UtteranceResult] = []
        done_s = 0.0
        with bar:
            for clip in fed:
                results.append(feed(stream, clip, self.setting.frame_ms, clock, partial(bar.audio, done_s)))
                done_s += clip.audio_s
                done = len(results) if mode == "utterance" else bar.clips
                bar.done(done, done_s, self._rates(results).wer)
        return results

    def _rates(self, results: list[UtteranceResult]) -> ErrorRates:
        scored = results if is_trained(self.recognizer.bundle) else []
        references = [result.reference for result in scored]
        return error_rates(references, [result.hypothesis for result in scored], self.setting.lang)


def what_runs(recognizer: TimedRecognizer, precision: str) -> dict[str, Any]:
    """What runs, as every row of a run on speech says it: model, decoder, precision, backend."""
    bundle, timed = recognizer.bundle, recognizer.timed
    return {
        "model": bundle.checkpoint.name,
        "weights": bundle.checkpoint.weights,
        "decoder": recognizer.decoder,
        "lm": None if recognizer.ngram is None else recognizer.ngram.name,
        "precision": precision,
        "calibration": calibration_of(bundle, precision),
        "backend": timed.name,
        "cuda_graph": timed.cuda_graph,
        "lookahead_ms": bundle.lookahead_ms,
        "functional_check": not on_gpu(timed.name),
    }


def together(rows: Sequence[Row], records: Sequence[UtteranceRecord], lang: str) -> list[Row]:
    """A row of several data sets as one, all clip by clip; none for a single one.

    What the records do not say of it, as the steps' times, is None.
    """
    if len(rows) < 2:
        return []
    scored = [each for each in records if all(row.wer is not None for row in rows)]  # not of random weights
    rates = error_rates([each.reference for each in scored], [each.hypothesis for each in scored], lang)
    rtf = percentiles(each.busy_s / each.audio_s for each in records if each.busy_s is not None)
    latencies: dict[str, float | None] = {}
    for key in ("first_partial_ms", "first_partial_onset_ms", "final_ms", "final_speech_end_ms"):
        timed = scored if key.startswith("first_partial") else records
        latencies |= latency(key, percentiles(getattr(each, key) for each in timed))
    summed = {}
    for key in ("clips", "left_out", "audio_minutes", "steps"):
        values = [getattr(each, key) for each in rows]
        summed[key] = None if None in values else sum(values)
    update = {"data": SEVERAL.join(each.data for each in rows), "wer": rates.wer, "cer": rates.cer}
    update |= {"rtf_p50": rtf.p50, "rtf_p95": rtf.p95, "step_ms_p50": None, "step_ms_p95": None, "step_ms_p99": None}
    update |= {"decode_ms_p50": None, "decode_ms_p95": None, "churn": None}
    update |= {name: max(getattr(each, name) or 0.0 for each in rows) for name in ("backlog_ms_max", "catch_up_ms_max")}
    return [Row.model_validate(rows[-1].model_dump() | update | latencies | summed)]


def _seconds(clips: Sequence[Clip]) -> float:
    return sum(clip.audio_s for clip in clips)


def latency(key: str, values: Percentiles) -> dict[str, float | None]:
    """Keys of a row: p50 and p95 of what is called `key`."""
    return {f"{key}_p50": values.p50, f"{key}_p95": values.p95}


def _record(result: UtteranceResult, data: str, mode: Mode) -> UtteranceRecord:
    return UtteranceRecord(
        data=data,
        mode=mode,
        audio=result.clip,
        reference=result.reference,
        hypothesis=result.hypothesis,
        audio_s=result.audio_s,
        busy_s=result.busy_s,
        first_partial_ms=result.first_partial_ms,
        first_partial_onset_ms=result.first_partial_onset_ms,
        final_ms=result.final_ms,
        final_speech_end_ms=result.final_speech_end_ms,
        backlog_ms=result.backlog_ms,
        catch_up_ms=result.catch_up_ms,
        onset_s=None if result.speech is None else result.speech.onset_s,
        speech_end_s=None if result.speech is None else result.speech.end_s,
        partials=result.partials if mode == "utterance" else None,  # a stream's are its clips' once more
    )
