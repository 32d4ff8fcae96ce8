"""Error rates over a corpus (all errors over all reference words or characters), churn, percentiles."""

from collections.abc import Iterable, Sequence

import jiwer
import numpy as np

from bench.score.normalise import normalise
from runtime.prefix import common_prefix


def error_rates(references: Sequence[str], hypotheses: Sequence[str], lang: str) -> dict[str, float | None]:
    """Return wer and cer, whose characters are spaces too, of transcripts in pairs, normalised here: in percent, None for no pairs.

    An empty hypothesis is all deletions.

    Raises:
        ValueError: the two differ in length, or a reference is empty once normalised (`normalise.scorable`).
    """
    if not references and not hypotheses:
        return {"wer": None, "cer": None}
    expected = [normalise(text, lang) for text in references]
    found = [normalise(text, lang) for text in hypotheses]
    if not all(expected):
        raise ValueError("a reference is empty once normalised")
    wer, cer = jiwer.process_words(expected, found).wer, jiwer.process_characters(expected, found).cer
    return {"wer": 100 * wer, "cer": 100 * cer}


def percentiles(values: Iterable[float | None]) -> dict[str, float | None]:
    """Return p50, p95 and p99 of the values that are there, linear between ranks; None where there are none."""
    present = [value for value in values if value is not None]
    found = np.percentile(present, [50, 95, 99]).tolist() if present else [None] * 3
    return dict(zip(("p50", "p95", "p99"), found, strict=True))


def retracted(before: str, after: str) -> int:
    """Return how many words of the text `before` the text `after` takes back. A last word that goes on is not taken back."""
    if after.startswith(before):  # as most do
        return 0
    words, following = before.split(), after.split()
    kept = common_prefix(words, following)
    grows = kept == len(words) - 1 and kept < len(following) and following[kept].startswith(words[kept])
    return 0 if grows else len(words) - kept


def first_right(texts: Iterable[str], reference: str, lang: str) -> int | None:
    """Return the place of the first text whose first word, normalised, is the reference's; None where there is none."""
    word = normalise(reference, lang).split()[:1]
    return next((place for place, text in enumerate(texts) if normalise(text, lang).split()[:1] == word), None)


def churn(taken_back: int, finals: Iterable[str]) -> float | None:
    """Return the words taken back per word of the finals; None without a final word."""
    words = sum(len(text.split()) for text in finals)
    return taken_back / words if words else None
