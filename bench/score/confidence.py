"""How far a confidence can be trusted: whether it says the share of words that are right, and whether it tells them apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 10
"""Of equal width, over 0 to 1."""


@dataclass(frozen=True)
class Bin:
    """Words whose confidence is about as high."""

    words: int
    confidence: float
    """Their mean."""
    right: float
    """Share of them, 0..1."""


def reliability(confidences: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """Return the bins that hold a word, by rising confidence. `confidences`: 0..1, the upper edge is in the last bin."""
    sure, good = np.array(confidences, np.float64), np.array(right, np.float64)
    places = np.minimum((sure * BINS).astype(int), BINS - 1)
    held = [places == place for place in range(BINS)]
    return [
        Bin(int(own.sum()), round(float(sure[own].mean()), 5), round(float(good[own].mean()), 5))
        for own in held
        if own.any()
    ]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Return the expected calibration error, 0..1 (Naeini et al. 2015): the mean distance of confidence and right words.

    None without a word.
    """
    words = sum(each.words for each in bins)
    return sum(each.words * abs(each.confidence - each.right) for each in bins) / words if words else None


def area_under_curve(confidences: Sequence[float], right: Sequence[bool]) -> float | None:
    """Return how likely a right word has a higher confidence than a wrong one; equal ones count half. None without both."""
    sure, good = np.array(confidences, np.float64), np.array(right, bool)
    if good.all() or not good.any():
        return None
    _, place, counts = np.unique(sure, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # of equal ones the mean
    hits = int(good.sum())
    above = ranks[good].sum() - hits * (hits + 1) / 2  # Mann and Whitney's U
    return float(above / (hits * (len(good) - hits)))
