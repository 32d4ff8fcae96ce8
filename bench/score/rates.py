"""Error rates over a corpus (all errors over all reference words or characters), churn, percentiles."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import jiwer
import numpy as np

from bench.score.normalise import normalise


@dataclass(frozen=True)
class ErrorRates:
    """Errors in percent; None where there is nothing to score."""

    wer: float | None
    cer: float | None
    """Spaces count as characters."""


@dataclass(frozen=True)
class Percentiles:
    """Of a set of values, linear between ranks, in the values' unit; None where there are none."""

    p50: float | None
    p95: float | None
    p99: float | None


def error_rates(references: Sequence[str], hypotheses: Sequence[str], lang: str) -> ErrorRates:
    """Return WER and CER of transcripts in pairs, both normalised here. An empty hypothesis is all deletions.

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
    """Return p50, p95 and p99 of the values that are there."""
    present = [value for value in values if value is not None]
    if not present:
        return Percentiles(None, None, None)
    return Percentiles(*(float(value) for value in np.percentile(present, [50, 95, 99])))


def retracted(before: str, after: str) -> int:
    """Return how many words of the text `before` the text `after` takes back. A last word that goes on is not taken back."""
    words, following = before.split(), after.split()
    pairs = enumerate(zip(words, following, strict=False))
    kept = next((place for place, (one, other) in pairs if one != other), min(len(words), len(following)))
    grows = kept == len(words) - 1 and kept < len(following) and following[kept].startswith(words[kept])
    return 0 if grows else len(words) - kept


def churn(utterances: Sequence[Sequence[str]]) -> float | None:
    """Return the words taken back per word of the finals; None without a final word.

    Args:
        utterances: of each its texts in order, the final last.
    """
    finals = sum(len(texts[-1].split()) for texts in utterances)
    taken_back = sum(retracted(*pair) for texts in utterances for pair in pairwise(texts))
    return taken_back / finals if finals else None
