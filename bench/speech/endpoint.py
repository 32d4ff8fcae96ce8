"""`python -m bench endpoint`: utterances that end themselves in one stream, when their finals and first texts come."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import get_args

import numpy as np
from rich.console import Console

from bench.machine import collect
from bench.pages.terminal import print_endpoints, report
from bench.process import gpu_memory_mb, peak_host_memory_mb
from bench.progress import Bar
from bench.results import (
    DEFINITIONS,
    ResultFile,
    Row,
    UtteranceRecord,
    row,
)
from bench.score.normalise import normalise
from bench.score.rates import error_rates, percentiles
from bench.session import PacedOptions
from bench.speech import clips
from bench.speech.feed import Clock, RealClock, VirtualClock, check_frame_ms
from bench.speech.measure import is_trained, latency, on_gpu, what_runs
from bench.speech.recognise import load_clips, warm_up
from bench.speech.talk import Heard, Spoken, Talk, Verdict, listen, talk, verdicts
from bench.speech.waterfall import FirstText, Waterfall, summed_up, waterfall
from runtime import EndpointRules, Final, Recognizer
from runtime.bundle import Bundle
from runtime.collector import loaded_spared


@dataclass(frozen=True)
class EndpointOptions(PacedOptions):
    """What to measure and how."""

    seed: int = 0  # of the silences
    min_silence_ms: int = EndpointRules.min_silence_ms


@dataclass(frozen=True)
class Answered:
    """One clip of the stream. Times in ms; None: not there, or of another clip's utterance."""

    spoken: Spoken
    verdict: Verdict
    hypothesis: str
    end_decision_ms: float | None = None
    final_ms: float | None = None
    first_partial_ms: float | None = None
    first_partial_onset_ms: float | None = None
    first_correct_onset_ms: float | None = None
    waterfall: Waterfall | None = None

    @property
    def final_speech_end_ms(self) -> float | None:
        """From the end of speech to the final."""
        return None if self.end_decision_ms is None or self.final_ms is None else self.end_decision_ms + self.final_ms


@dataclass(frozen=True)
class _Utterance:
    """Events up to a final, and where in the stream its audio lies, in seconds."""

    start_s: float
    end_s: float
    events: list[Heard] = field(default_factory=list)


def run_endpoint(options: EndpointOptions, argv: Sequence[str], console: Console) -> Path:
    """Measure, print the tables, write the result file and return its path.

    Args:
        options: what to measure.
        argv: the command line, for the provenance.
        console: where progress and tables go.

    Raises:
        InputError: bad options, data or bundle; nothing is written then.
    """
    check_frame_ms(options.frame_ms)
    rules = EndpointRules(min_silence_ms=options.min_silence_ms)
    folder = clips.eval_folder(options.eval, console.print)
    data_sets = clips.data_sets(folder, options.lang, options.limit)
    described = [clips.provenance(data_set) for data_set in data_sets]
    pace = options.chosen_pace
    rows: list[Row] = []
    records: list[UtteranceRecord] = []
    with options.opened() as recognizer, loaded_spared():
        bundle, timed = recognizer.bundle, recognizer.timed
        path = options.result_path(recognizer, folder, "endpoint")
        for data_set in data_sets:
            loaded = load_clips(data_set, bundle.sample_rate, console)
            if not rows:
                warm_up(recognizer, loaded[0], options.frame_ms, console)
            audio = talk(data_set.name, loaded, options.seed)
            alone = [_alone(recognizer, each) for each in audio.spoken] if is_trained(bundle) else []
            timed.step_s.clear()
            recognizer.decode_s.clear()
            clock: Clock = RealClock() if pace == "realtime" else VirtualClock()
            with Bar(
                console, f"{data_set.name} endpoints", len(audio.spoken), len(audio.samples) / audio.sample_rate
            ) as bar:
                stream = recognizer.stream(rules)
                listened = listen(
                    stream,
                    audio,
                    options.frame_ms,
                    clock,
                    stepped_s=lambda: timed.total_s,
                    on_frame=partial(bar.audio, 0.0),
                )
            answered = answers(bundle, audio, listened.heard, options.lang)
            decode = percentiles(1e3 * each for each in recognizer.decode_s)
            measured = {
                **what_runs(recognizer, options.chosen_precision),
                "frame_ms": options.frame_ms,
                "pace": pace,
                "data": data_set.name,
                "mode": "endpoint",
                "left_out": data_set.left_out,
                "limit": options.limit,
                "audio_minutes": len(audio.samples) / audio.sample_rate / 60,
                "backlog_ms_max": listened.backlog_ms,
                "steps": len(timed.step_s),
                "peak_gpu_memory_mb": gpu_memory_mb() if on_gpu(timed.name) else None,
                "peak_host_memory_mb": peak_host_memory_mb(),
                "seed": options.seed,
                "rules": asdict(rules),
                "decode_ms_p50": decode.p50,
                "decode_ms_p95": decode.p95,
            }
            texts = _texts(answered, alone, options.lang) if is_trained(bundle) else {}
            rows.append(row(**measured, **_figures(answered, timed.step_s), **texts))
            records.extend(_record(each, data_set.name) for each in answered)
        provenance = collect(argv, described)
    result = ResultFile(provenance=provenance, rows=rows, definitions=DEFINITIONS, utterances=records)
    report(path, result, console)
    print_endpoints(rows, console)
    return path


def answers(bundle: Bundle, audio: Talk, heard: Sequence[Heard], lang: str) -> list[Answered]:
    """What the stream said to each clip.

    A final belongs to the last clip whose speech began before its audio ended. Latencies to text are those of the first utterance that
    ends after the clip's onset, and only where it began before that onset and after the end of the clip before.
    """
    utterances = _utterances(heard)
    spoken = audio.spoken
    found = verdicts(spoken, [each.end_s for each in utterances])
    onsets = np.array([each.onset_s for each in spoken])
    belongs = [max(0, int(np.searchsorted(onsets, each.end_s)) - 1) for each in utterances]
    answered = []
    for place, (each, verdict) in enumerate(zip(spoken, found, strict=True)):
        own = [utterance for utterance, clip in zip(utterances, belongs, strict=True) if clip == place]
        own = [utterance for utterance in own if utterance.end_s > each.onset_s]
        hypothesis = " ".join(utterance.events[-1].event.text for utterance in own if utterance.events[-1].event.text)
        before_s = spoken[place - 1].end_s if place else 0.0
        measured: dict[str, float | None] = {}
        fall = None
        if own and before_s <= own[0].start_s <= each.onset_s:
            measured, fall = _first_texts(bundle, each, own[0], lang)
        if verdict in ("found", "late"):
            final = next(utterance for utterance in own if utterance.end_s >= each.end_s).events[-1]
            measured["end_decision_ms"] = 1e3 * (final.arrival_s - each.end_s)
            measured["final_ms"] = 1e3 * (final.end_s - final.arrival_s)
        answered.append(Answered(each, verdict, hypothesis, **measured, waterfall=fall))
    return answered


def _utterances(heard: Sequence[Heard]) -> list[_Utterance]:
    finals = [each.event.audio_s for each in heard if isinstance(each.event, Final)]
    ends = list(accumulate(finals))
    found = [_Utterance(start, end) for start, end in zip([0.0, *ends], ends, strict=False)]
    place = 0
    for each in heard:
        found[place].events.append(each)
        place += isinstance(each.event, Final)
    return found


def _first_texts(
    bundle: Bundle, spoken: Spoken, utterance: _Utterance, lang: str
) -> tuple[dict[str, float | None], Waterfall | None]:
    """Latencies of the first text, and of the first whose first word is the reference's; the waterfall of the first."""
    said = [each for each in utterance.events if each.event.text]
    if not said:
        return {}, None
    first = said[0]
    word = normalise(spoken.clip.reference, lang).split()[0]
    correct = next((each for each in said if normalise(each.event.text, lang).split()[:1] == [word]), None)
    measured = {
        "first_partial_ms": 1e3 * (first.end_s - spoken.start_s),
        "first_partial_onset_ms": 1e3 * (first.end_s - spoken.onset_s),
        "first_correct_onset_ms": None if correct is None else 1e3 * (correct.end_s - spoken.onset_s),
    }
    if isinstance(first.event, Final):
        return measured, None
    text = FirstText(utterance.start_s, first.event.audio_s, first.arrival_s, first.begin_s, first.step_s, first.end_s)
    return measured, waterfall(bundle, spoken.onset_s, text)


def _alone(recognizer: Recognizer, spoken: Spoken) -> str:
    stream = recognizer.stream()
    stream.push(spoken.clip.samples)
    return stream.end_utterance().text


def _figures(answered: list[Answered], step_s: list[float]) -> dict[str, object]:
    step = percentiles(1e3 * each for each in step_s)
    return {
        "clips": len(answered),
        "step_ms_p50": step.p50,
        "step_ms_p95": step.p95,
        "step_ms_p99": step.p99,
        **{kind: sum(each.verdict == kind for each in answered) for kind in get_args(Verdict)},
        **_latencies(answered, FINALS),
    }


def _texts(answered: list[Answered], alone: list[str], lang: str) -> dict[str, object]:
    """Keys of a row, for weights that are trained; `alone`: each clip's text in a stream of its own."""
    references = [each.spoken.clip.reference for each in answered]
    rates = error_rates(references, [each.hypothesis for each in answered], lang)
    return {
        "wer": rates.wer,
        "cer": rates.cer,
        "wer_clips": error_rates(references, alone, lang).wer,
        "waterfall": summed_up([each.waterfall for each in answered if each.waterfall]),
        "waterfalls": sum(each.waterfall is not None for each in answered),
        "first_correct": sum(each.first_correct_onset_ms is not None for each in answered),
        **_latencies(answered, FIRST_TEXTS),
    }


def _latencies(answered: list[Answered], keys: Sequence[str]) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    for key in keys:
        figures |= latency(key, percentiles(getattr(each, key) for each in answered))
    return figures


FINALS = ("end_decision_ms", "final_ms", "final_speech_end_ms")
FIRST_TEXTS = ("first_partial_ms", "first_partial_onset_ms", "first_correct_onset_ms")


def _record(each: Answered, data: str) -> UtteranceRecord:
    return UtteranceRecord(
        data=data,
        mode="endpoint",
        audio=each.spoken.clip.name,
        reference=each.spoken.clip.reference,
        hypothesis=each.hypothesis,
        audio_s=each.spoken.clip.audio_s,
        start_s=each.spoken.start_s,
        onset_s=each.spoken.onset_s,
        speech_end_s=each.spoken.end_s,
        verdict=each.verdict,
        waterfall=None if each.waterfall is None else {key: round(ms, 3) for key, ms in asdict(each.waterfall).items()},
        **{key: getattr(each, key) for key in (*FINALS, *FIRST_TEXTS)},
    )
