"""From a histogram of magnitudes to the threshold of symmetric 8-bit quantisation: steps of threshold / 127, clipped beyond."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from calibration.histogram import Histogram
from runtime.errors import InputError

MAGNITUDES = 128  # magnitudes of an 8-bit number, 0 to 127
BLOCK = 128  # candidates whose levels lie in a processor's cache together

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def percentile(histogram: Histogram, percent: float) -> float:
    """The magnitude that `percent` of the values do not exceed, linear within its bin."""
    counted = np.cumsum(histogram.counts)
    wanted = percent / 100 * counted[-1]
    last = int(np.searchsorted(counted, wanted))
    within = 1 - (counted[last] - wanted) / histogram.counts[last]
    return (last + float(within)) * histogram.width


def mean_squared_error(histogram: Histogram) -> float:
    """The bin edge that minimises the expected squared error, with the values of a bin spread evenly over it.

    With steps of s, the error is E[x^2] - 2 s * sum over k = 1..127 of E[max(|x| - (k - 1/2) s, 0)]: Abel's summation of the error over
    the quantiser's cells. That expectation is a parabola within each bin, so the error of every threshold is exact.
    """
    share = histogram.counts[: histogram.used] / histogram.samples
    above = np.append(np.cumsum(share[::-1])[::-1], 0.0)  # P(|x| > edge), by edge; lengths in bins from here on
    excess = np.append(np.cumsum((above[1:] + share / 2)[::-1])[::-1], 0.0)  # E[max(|x| - edge, 0)]

    def gain(thresholds: Integers) -> Floats:
        steps = thresholds / (MAGNITUDES - 1)
        points = steps[:, None] * (np.arange(1, MAGNITUDES) - 0.5)  # between the quantiser's cells
        bins = points.astype(np.intp)
        into = points - bins
        return np.asarray(steps * (excess[bins] - above[bins] * into + share[bins] * into**2 / 2).sum(1))

    return (1.0 + float(np.argmax(_by_blocks(gain, np.arange(1, histogram.used + 1))))) * histogram.width


def entropy(histogram: Histogram) -> float:
    """The threshold whose quantised distribution has the least KL divergence from the distribution clipped there.

    S. Migacz, "8-bit Inference with TensorRT", NVIDIA GTC 2017: for i bins, from 128 of 2,048 to all, P is the first i bins with all
    that lies beyond added to the last of them, Q the first i bins quantised to 128 levels and spread evenly over the bins of a level
    that are not empty in P; the i of least KL(P, Q) gives the threshold i + 1/2 bins. What the talk leaves open:

    - Where i is no multiple of 128, the levels are equally wide to within a bin.
    - With more than 2,048 bins the least threshold stays a sixteenth of the largest magnitude: below it Q is P but for the outliers,
      and behind the narrow peak that SiLU leaves at 0.28 almost all information would be clipped.
    - A last level with outliers and nothing else is one value in Q: with none the divergence would be infinite, and one far outlier would
      be the threshold.
    """
    counts = histogram.counts[: histogram.used].astype(np.float64)
    total, summed, summed_filled = counts.sum(), _summed(counts), _summed(counts > 0)
    summed_own = _summed(_x_log_x(counts))
    least = histogram.used * MAGNITUDES // 2048

    def divergence(candidates: Integers) -> Floats:  # the i of above
        # First bin of each level, and the end: [candidates, levels + 1].
        starts = -(-candidates[:, None] * np.arange(MAGNITUDES + 1) // MAGNITUDES)
        last = counts[candidates - 1]
        inside = summed[candidates]
        outliers = total - inside
        clipped = np.diff(summed[starts], axis=1)  # by level; of P, once the outliers are in
        filled = np.diff(summed_filled[starts], axis=1)  # bins of a level that are not empty in P
        values = clipped.copy()  # by level; of Q
        values[:, -1] += (values[:, -1] == 0) & (outliers > 0)
        clipped[:, -1] += outliers
        filled[:, -1] += (last == 0) & (outliers > 0)
        # KL(P, Q) = sum of p log p, less sum of p log q; q is one value in a level.
        own = summed_own[candidates - 1] + _x_log_x(last + outliers)
        cross = (clipped * np.log(np.where(values > 0, values, 1.0) / np.maximum(filled, 1.0))).sum(1)
        found = (own - cross) / total - np.log(total) + np.log(values.sum(1))
        return np.where(inside == 0, np.inf, found)  # nothing but outliers

    best = least + int(np.argmin(_by_blocks(divergence, np.arange(least, histogram.used + 1))))
    return min((best + 0.5) * histogram.width, histogram.absolute_max)


METHODS: dict[str, Callable[[Histogram], float]] = {
    "entropy": entropy,
    "max": lambda histogram: histogram.absolute_max,  # nothing is clipped
    "percentile_99.9": lambda histogram: percentile(histogram, 99.9),
    "percentile_99.99": lambda histogram: percentile(histogram, 99.99),
    "percentile_99.999": lambda histogram: percentile(histogram, 99.999),
    "mse": mean_squared_error,
}


def thresholds(histogram: Histogram) -> dict[str, float]:
    """Threshold by method, at most the largest magnitude. Raises InputError where every value was 0."""
    if not histogram.absolute_max:
        raise InputError(
            f"expected values other than 0 in {histogram.name}, found {histogram.samples} zeros; check the checkpoint, and make the "
            f"bundle again with `make export`"
        )
    return {name: min(method(histogram), histogram.absolute_max) for name, method in METHODS.items()}


def _by_blocks(of: Callable[[Integers], Floats], candidates: Integers) -> Floats:
    """What `of` gives for candidates [n], a value each [n], BLOCK of them at a time: a third of the time of all at once."""
    blocks = np.array_split(candidates, -(-len(candidates) // BLOCK))
    return np.concatenate([of(block) for block in blocks])


def _summed(values: npt.NDArray[np.generic]) -> Floats:
    """Sums of the first n values, n from 0 on."""
    return np.append(0.0, np.cumsum(values, dtype=np.float64))


def _x_log_x(values: Floats) -> Floats:
    """With 0 log 0 = 0."""
    result: Floats = values * np.log(np.where(values > 0, values, 1.0))
    return result
