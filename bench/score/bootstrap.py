"""The difference of two error rates, or of two percentiles, over the same utterances, and what of it may be chance.

M. Bisani and H. Ney's paired bootstrap ("Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004):
utterances are drawn with replacement, both sides' errors are counted (or their percentiles taken) on the same draw, and the interval is
the middle 95 % of the differences.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.score.words import Recognised, aligned
from runtime.errors import InputError

Interval = tuple[float, float]
"""Low and high."""

RESAMPLES = 10_000
SEED = 0
INTERVAL = (2.5, 97.5)  # percentiles
DRAWS = 1 << 22  # utterances drawn at a time, for bounded memory
DEFINITION = (
    f"WER less that of the reference on the same utterances, in percentage points; _low and _high: the middle 95 % of {RESAMPLES:,} "
    "paired bootstrap resamples of the utterances (Bisani and Ney, ICASSP 2004)"
)


@dataclass(frozen=True)
class Difference:
    """Two error rates over the same utterances, and how far apart they are."""

    wer_a: float  # percent
    wer_b: float  # percent
    points: float  # percentage points: b less a
    low: float | None  # of the 95 % interval; None: a single utterance has no spread
    high: float | None
    words: int  # in the references, after normalisation


def paired_difference(pairs: Sequence[tuple[Recognised, Recognised]]) -> Difference:
    """WER of the second of each pair less that of the first, with its interval; a pair is of one utterance.

    Raises:
        InputError: no pairs, or a reference without words, as no bench measures on.
    """
    both = [(aligned(left), aligned(right)) for left, right in pairs]
    counts = np.array([(left.errors, left.words, right.errors) for left, right in both], np.int64).reshape(-1, 3)
    errors_a, words, errors_b = counts.T
    if not len(pairs) or not words.all():
        silent = next((left.reference for (left, _), each in zip(pairs, words, strict=True) if not each), None)
        found = "no reference" if silent is None else f"none in {silent!r}"
        raise InputError(f"expected references with words, found {found}; measure again without this clip")
    more, total = errors_b - errors_a, words.sum()
    low, high = _interval(more, words) if len(pairs) > 1 else (None, None)
    wer_a, wer_b, points = (100 * float(each.sum() / total) for each in (errors_a, errors_b, more))
    return Difference(wer_a, wer_b, points, low, high, int(total))


def percentile_interval(a: Sequence[float | None], b: Sequence[float | None], percent: float) -> Interval | None:
    """The middle 95 % of a percentile of `b` less that of `a`; values in pairs, of an utterance each, None where one has none.

    None where fewer than two utterances have a value on either side.
    """
    left, right = (np.array([math.nan if each is None else each for each in side]) for side in (a, b))
    if min(np.isfinite(left).sum(), np.isfinite(right).sum()) < 2:
        return None
    found = [_percentile(right[drawn], percent) - _percentile(left[drawn], percent) for drawn in _draws(len(left))]
    low, high = np.nanpercentile(np.concatenate(found), INTERVAL)
    return float(low), float(high)


def label(points: float | None, low: float | None, high: float | None) -> str:
    """A difference in a table, `+0.05 (-0.10 to +0.20)`; a dash where there is none."""
    if points is None:
        return "-"
    return _signed(points) if low is None or high is None else f"{_signed(points)} ({_signed(low)} to {_signed(high)})"


def _signed(points: float) -> str:
    return f"{round(points, 2) + 0.0:+.2f}"  # + 0.0: no negative zero


def _interval(more: npt.NDArray[np.int64], words: npt.NDArray[np.int64]) -> Interval:
    """Percentiles INTERVAL of 100 * sum(more) / sum(words) over resampled utterances; `more` and `words`: [utterances]."""
    points = [100 * more[drawn].sum(1) / words[drawn].sum(1) for drawn in _draws(len(words))]
    low, high = np.percentile(np.concatenate(points), INTERVAL)
    return float(low), float(high)


def _draws(utterances: int) -> Iterator[npt.NDArray[np.int64]]:
    """RESAMPLES draws of so many utterances, some draws at a time: [draws, utterances]."""
    rng = np.random.default_rng(SEED)
    at_once = max(1, DRAWS // utterances)
    for done in range(0, RESAMPLES, at_once):
        yield rng.integers(utterances, size=(min(at_once, RESAMPLES - done), utterances))


def _percentile(values: npt.NDArray[np.float64], percent: float) -> npt.NDArray[np.float64]:
    """np.nanpercentile(values, percent, axis=1), which goes row by row; NaN for a row without values. `values`: [draws, utterances]."""
    ordered = np.sort(values, axis=1)  # NaN last
    rank = np.maximum(np.isfinite(values).sum(1) - 1, 0) * percent / 100
    below = rank.astype(np.int64)
    above = np.ceil(rank).astype(np.int64)
    low, high = (np.take_along_axis(ordered, each[:, None], 1)[:, 0] for each in (below, above))
    return np.asarray(low + (rank - below) * (high - low))
