"""One pass with a growing range gives the histogram that a second pass with the final range gives, bit for bit."""

import numpy as np
import pytest

from calibration.histogram import BINS, Histogram
from runtime.errors import InputError

RNG = np.random.default_rng(1)
NORMAL = RNG.standard_normal(50_000).astype(np.float32)
STREAMS = {
    "normal": NORMAL,
    "growing": NORMAL * np.geomspace(1e-6, 1e4, NORMAL.size, dtype=np.float32),
    "shrinking": NORMAL * np.geomspace(1e4, 1e-6, NORMAL.size, dtype=np.float32),
    "one outlier": np.append(NORMAL, np.float32(1e6)),
    "outlier first": np.append(np.float32(-1e6), NORMAL),
    "zeros first": np.append(np.zeros(5000, np.float32), NORMAL),
    "edges of bins": np.arange(-4096, 4097, dtype=np.float32) / 1024,
    "power of two": np.array([0.25, 1.0, 2.0, 4.0], np.float32),
    "subnormal first": np.append(np.full(10, 1e-42, np.float32), NORMAL),
    "large": np.array([1.0, 3e38], np.float32),
}


@pytest.mark.parametrize("pieces", [1, 7, 500])
@pytest.mark.parametrize("name", STREAMS)
def test_equals_a_second_pass(name: str, pieces: int) -> None:
    values = STREAMS[name]
    histogram = Histogram(name)
    for piece in np.array_split(values, pieces):
        histogram.add(piece)
    magnitudes = np.abs(values.astype(np.float64))
    expected, _ = np.histogram(magnitudes, bins=BINS, range=(0, histogram.limit))
    difference = int(np.abs(histogram.counts - expected).max())
    print(f"{name} in {pieces}: limit {histogram.limit:g}, largest difference of a bin {difference}")
    assert difference == 0
    assert histogram.absolute_max == magnitudes.max()
    assert histogram.zeros == int((values == 0).sum())
    assert histogram.samples == values.size
    assert magnitudes.max() < histogram.limit <= 2 * magnitudes.max()
    assert BINS // 2 < histogram.used <= BINS
    assert histogram.counts[histogram.used - 1] > 0
    assert histogram.counts[histogram.used :].sum() == 0


def test_shape_does_not_matter() -> None:
    flat, shaped = Histogram("flat"), Histogram("shaped")
    flat.add(NORMAL)
    shaped.add(NORMAL.reshape(50, 1000).T)
    assert (flat.counts == shaped.counts).all()


def test_nothing_but_zeros() -> None:
    histogram = Histogram("zeros")
    histogram.add(np.zeros(100, np.float32))
    histogram.add(np.zeros(0, np.float32))
    assert (histogram.samples, histogram.zeros, histogram.limit, histogram.used) == (100, 100, 0.0, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_and_not_counted(bad: float) -> None:
    histogram = Histogram("layer3/ffn1.norm")
    histogram.add(NORMAL)
    with pytest.raises(
        InputError, match=r"^expected finite activations in layer3/ffn1.norm, found 2 NaN or infinite of 5;"
    ) as error:
        histogram.add(np.array([1, bad, 2, bad, 3], np.float32))
    assert "\n" not in str(error.value)
    assert histogram.samples == NORMAL.size
