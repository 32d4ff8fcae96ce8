"""`python -m bench words`: whether the words of finals are where they are spoken, and right as often as their confidence says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from bench.progress import Bar
from bench.rows import UtteranceRecord, WordsRow
from bench.score.confidence import area_under_curve, calibration_error, reliability
from bench.score.words import matches
from bench.session import SpeechOptions, Written
from bench.speech.alignment import SpokenTimes
from bench.speech.arrivals import events_of
from bench.speech.clips import Clip, DataSet
from bench.speech.speech_session import SpeechSession, opened
from bench.summary import RunningWer, spread
from data.word_times import SpokenWord
from runtime.words import Word

OF_THE_MACHINE = ("steps", "step_ms", "decode_ms", "peak_", "plan_mb", "build_s", "frame_ms", "functional_check")
"""How keys begin that say how long a run takes and what it needs: nothing of it is measured here, so that a CPU's figures are a result."""


@dataclass(frozen=True, kw_only=True)
class Options(SpeechOptions):
    """What recognises, and on what."""


@dataclass(frozen=True)
class Judged:
    """A recognised word beside the reference. Times are in seconds of the clip."""

    confidence: float
    right: bool
    start_error_s: float | None
    """Recognised less spoken; None for a wrong word, or one whose times are not known, and so for its end."""
    end_error_s: float | None


@dataclass(frozen=True)
class Spoken:
    """What a data set's clips gave."""

    data_set: DataSet
    clips: int
    audio_s: float
    unaligned: int
    """Clips without word times."""
    words: Sequence[Judged]
    records: Sequence[UtteranceRecord]


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure and write the result file.

    Raises:
        InputError: bad options, data or bundle, or no PocketSphinx where it is needed; nothing is written then.
    """
    with opened(options, argv, console) as session:
        path = session.path("words")
        rate = session.recognizer.bundle.sample_rate
        times = [SpokenTimes(data_set, rate) for data_set in session.data.sets]
        heard = [measure(session, *clips, each) for clips, each in zip(session.clips(), times, strict=True)]
        measured = [(row(session, [each]), each.records) for each in heard]
        measured += [(row(session, heard), [])] if len(heard) > 1 else []
        sources = " and ".join(dict.fromkeys(each.source for each in times))
        return session.data.write(path, measured, {"spoken": f"words' true times: {sources}"})


def measure(session: SpeechSession, data_set: DataSet, clips: Sequence[Clip], times: SpokenTimes) -> Spoken:
    """Recognise each clip of a data set as an utterance, and judge its final's words."""
    words, records = list[Judged](), list[UtteranceRecord]()
    unaligned, done_s, wer, stream = 0, 0.0, RunningWer(), session.recognizer.stream(early="off")
    with Bar(session.console, f"{data_set.name} words", len(clips), sum(clip.audio_s for clip in clips)) as bar:
        for number, clip in enumerate(clips, start=1):
            final = events_of(stream, clip.samples)[-1]
            records.append(data_set.record(clip, mode="words", hypothesis=final.text))
            spoken = times.of(clip)
            unaligned += spoken is None
            words += judged(clip.reference, final.at(0.0).words, spoken, data_set.lang)
            done_s += clip.audio_s
            bar.done(number, done_s, wer.of(records if session.trained else []))
    return Spoken(data_set, len(clips), done_s, unaligned, words, records)


def judged(reference: str, words: Sequence[Word], spoken: Sequence[SpokenWord] | None, lang: str) -> list[Judged]:
    """Judge recognised words; `spoken`: those of the normalised reference, if their times are known. One without letters is left out."""
    found = []
    for word, its in zip(words, matches(reference, [word.text for word in words], lang), strict=True):
        if its.kind is None:
            continue
        start_s = spoken[its.places[0]].start_s if its.places and spoken else None
        end_s = spoken[its.places[-1]].end_s if its.places and spoken else None
        errors = [
            None if true_s is None else found_s - true_s
            for found_s, true_s in ((word.start_s, start_s), (word.end_s, end_s))
        ]
        found.append(Judged(word.confidence, its.kind == "equal", *errors))
    return found


def row(session: SpeechSession, spoken: Sequence[Spoken]) -> WordsRow:
    """Return the row of data sets, of all their words together."""
    keys = session.row_keys(*(each.data_set for each in spoken))
    words = [word for each in spoken for word in each.words]
    return WordsRow(
        **{key: value for key, value in keys.items() if not key.startswith(OF_THE_MACHINE)},
        mode="words",
        clips=sum(each.clips for each in spoken),
        audio_minutes=sum(each.audio_s for each in spoken) / 60,
        unaligned=sum(each.unaligned for each in spoken),
        words=len(words),
        **time_keys(words),
        **(confidence_keys(words) if session.trained else {}),
    )


def time_keys(words: Iterable[Judged]) -> dict[str, Any]:
    """Return a row's errors of times."""
    timed = [(word.start_error_s, word.end_error_s) for word in words]
    starts = [1e3 * start_s for start_s, end_s in timed if start_s is not None and end_s is not None]
    ends = [1e3 * end_s for start_s, end_s in timed if start_s is not None and end_s is not None]
    keys: dict[str, Any] = {"words_timed": len(starts)}
    for name, errors in {"word_start": starts, "word_end": ends}.items():
        keys |= spread(f"{name}_ms", map(abs, errors))
        keys[f"{name}_bias_ms"] = float(np.median(errors)) if errors else None
    return keys


def confidence_keys(words: Sequence[Judged]) -> dict[str, Any]:
    """Return what a row says of confidence; nothing without a word."""
    if not words:
        return {}
    confidences, right = [word.confidence for word in words], [word.right for word in words]
    bins = reliability(confidences, right)
    return {
        "confidence_ece": calibration_error(bins),
        "confidence_auc": area_under_curve(confidences, right),
        "confidence": float(np.mean(confidences)),
        "words_right": float(np.mean(right)),
        "reliability": bins,
    }
