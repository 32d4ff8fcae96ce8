"""Error rates over a corpus (all errors over all reference words or characters), percentiles, real-time factors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

from bench.score.normalise import normalise
from bench.speech.feed import UtteranceResult

RTF_WINDOW_S = 10.0


@dataclass(frozen=True)
class ErrorRates:
    """Errors in percent; None where there is nothing to score."""

    wer: float | None
    cer: float | None  # spaces count as characters


@dataclass(frozen=True)
class Percentiles:
    """Of a set of values, linear between ranks, in the values' unit; None where there are none."""

    p50: float | None
    p95: float | None
    p99: float | None


def error_rates(references: Sequence[str], hypotheses: Sequence[str], lang: str) -> ErrorRates:
    """WER and CER of transcripts in pairs, both normalised here. An empty hypothesis is all deletions.

    Raises:
        ValueError: the two differ in length, or a reference is empty once normalised (`normalise.scorable`).
    """
    if not references and not hypotheses:
        return ErrorRates(None, None)
    expected = [normalise(text, lang) for text in references]
    found = [normalise(text, lang) for text in hypotheses]
    if not all(expected):
        raise ValueError("a reference is empty once normalised")
    return ErrorRates(
        wer=100 * jiwer.process_words(expected, found).wer, cer=100 * jiwer.process_characters(expected, found).cer
    )


def percentiles(values: Iterable[float | None]) -> Percentiles:
    """p50, p95 and p99 of the values that are there."""
    present = [value for value in values if value is not None]
    if not present:
        return Percentiles(None, None, None)
    return Percentiles(*(float(value) for value in np.percentile(present, [50, 95, 99])))


def rtf_per_utterance(results: Iterable[UtteranceResult]) -> list[float]:
    """Busy seconds (push and finish) per second of audio, utterance by utterance."""
    return [result.busy_s / result.audio_s for result in results]


def rtf_per_window(result: UtteranceResult, frame_ms: int) -> list[float]:
    """Busy seconds (push) per second of audio in each whole 10 s of one stream; of all of it where it is shorter.

    A frame belongs to the window that its first sample lies in. The flush has no audio of its own and is in no window.
    """
    windows = int(result.audio_s // RTF_WINDOW_S)
    if windows == 0:
        return [sum(result.frame_s) / result.audio_s]
    busy = [0.0] * windows
    for index, seconds in enumerate(result.frame_s):
        window = int(index * frame_ms / 1000 // RTF_WINDOW_S)
        if window < windows:
            busy[window] += seconds
    return [seconds / RTF_WINDOW_S for seconds in busy]
