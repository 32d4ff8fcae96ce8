"""The distribution of one activation's magnitudes, in one pass over values whose range is not known beforehand."""

import math

import numpy as np
import numpy.typing as npt

from runtime.errors import InputError

BINS = 4096  # the largest magnitude lies in the upper half, so that 2,048 bins or more are used


class Histogram:
    """Counts of |x| in BINS equal bins over [0, limit).

    The limit is the power of two above the largest |x| so far; where it grows, bins are merged in pairs. So it is exactly the histogram
    that a second pass with the final limit would give, in whatever order the values come: a bin's width is a power of two,
    by which nothing is rounded.
    """

    def __init__(self, name: str) -> None:
        """`name` is the tensor's or product's, for messages."""
        self.name = name
        self.counts: npt.NDArray[np.int64] = np.zeros(BINS, np.int64)
        """Values by magnitude [BINS]; bin j: j * width <= |x| < (j + 1) * width."""
        self.absolute_max = 0.0
        """Largest |x|."""
        self.zeros = 0
        """Values that are exactly 0, in bin 0 with the other small ones."""
        self._exponent: int | None = None  # of the limit; None until a value other than 0 comes

    @property
    def limit(self) -> float:
        """Upper end of the last bin; 0 while every value is 0."""
        return 0.0 if self._exponent is None else math.ldexp(1.0, self._exponent)

    @property
    def width(self) -> float:
        """Of a bin."""
        return self.limit / BINS

    @property
    def used(self) -> int:
        """Bins up to the one that holds the largest |x|; 0 while every value is 0."""
        return int(self.absolute_max / self.width) + 1 if self.limit else 0

    @property
    def samples(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count values of any shape. Raises InputError, and counts none, where one is not finite."""
        magnitudes = np.abs(values).ravel()
        if not magnitudes.size:
            return
        top = float(magnitudes.max())
        if not math.isfinite(top):
            raise InputError(
                f"expected finite activations in {self.name}, found {np.count_nonzero(~np.isfinite(magnitudes))} NaN or infinite of "
                f"{magnitudes.size}; check the checkpoint, and make the bundle again with `make export`"
            )
        self.zeros += magnitudes.size - int(np.count_nonzero(magnitudes))
        if top == 0.0:
            self.counts[0] += magnitudes.size
            return
        self.absolute_max = max(self.absolute_max, top)
        exponent = math.frexp(self.absolute_max)[1]
        for _ in range(exponent - (exponent if self._exponent is None else self._exponent)):
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([merged, np.zeros(BINS // 2, np.int64)])
        self._exponent = exponent
        bins = np.ldexp(magnitudes, int(math.log2(BINS)) - exponent)  # exact, and so is its floor
        self.counts += np.bincount(bins.astype(np.intp), minlength=BINS)
