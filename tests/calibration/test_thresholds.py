"""Thresholds of known distributions, against the published optima, a textbook loop, brute force and numpy on the samples."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import rel_entr

from calibration.histogram import BINS, Histogram
from calibration.thresholds import METHODS, thresholds
from runtime.errors import InputError

RNG = np.random.default_rng(7)
SIZE = 300_000
Z = RNG.standard_normal(SIZE)
SAMPLES = {
    "gaussian": Z,
    "laplace": RNG.laplace(size=SIZE),
    "uniform": RNG.uniform(-1, 1, SIZE),
    "silu": Z / (1 + np.exp(-Z)),
    "half zeros": np.maximum(Z, 0),
    "one outlier": np.append(Z, 100.0),
    "outlier channels": np.concatenate([Z, 12 * Z[: SIZE // 100]]),
    "few values": RNG.choice([-3.0, -0.5, 0.25, 1.0, 2.5], SIZE),
    "whole numbers": np.repeat(np.arange(-127.0, 128.0), 100),
    "a constant": np.full(1000, 5.0),
    "a constant and zeros": np.append(np.zeros(1000), np.full(1000, 5.0)),
    "one value": np.array([1e-20]),
}


def counted(samples: np.ndarray) -> Histogram:
    histogram = Histogram("x")
    histogram.add(samples.astype(np.float32))
    return histogram


def textbook_divergences(histogram: Histogram) -> dict[int, float]:
    """The talk's pseudocode, one candidate after the other: its bins and its divergence."""
    bins = histogram.counts[: histogram.used].astype(float)
    divergences = {}
    for i in range(128 * len(bins) // 2048, len(bins) + 1):
        p = bins[:i].copy()
        p[-1] += bins[i:].sum()
        level = np.arange(i) * 128 // i
        sums = np.bincount(level, bins[:i], 128)
        sums[-1] += sums[-1] == 0 and bins[i:].any()  # outliers alone in the last level
        filled = np.bincount(level, p > 0, 128)
        q = np.where(p > 0, sums[level] / np.maximum(filled[level], 1), 0)
        divergences[i] = float(rel_entr(p / p.sum(), q / q.sum()).sum()) if bins[:i].any() else np.inf
    return divergences


@pytest.mark.parametrize("name", SAMPLES)
def test_entropy_is_the_textbooks(name: str) -> None:
    histogram = counted(SAMPLES[name])
    divergences = textbook_divergences(histogram)
    best = min(divergences, key=lambda each: divergences[each])
    found = METHODS["entropy"](histogram)
    ours = (
        histogram.used if found == histogram.absolute_max else int(found / histogram.width)
    )  # i + 1/2 bins, at most the maximum
    difference = divergences[ours] - divergences[best]
    print(
        f"{name}: {ours} of {histogram.used} bins, textbook {best}; divergence {divergences[best]:.3e}, ours {difference:.1e} above"
    )
    assert difference <= 1e-12
    assert found <= histogram.absolute_max


def squared_error(samples: np.ndarray, threshold: float) -> float:
    """Mean squared error of quantising the samples themselves."""
    step = threshold / 127
    error = samples / step
    np.clip(np.rint(error, error), -127, 127, error)  # each in its place: new arrays would take most of the time
    error *= step
    error -= samples
    return float(error @ error) / len(error)


@pytest.mark.parametrize("name", SAMPLES)
def test_squared_error_is_the_least_there_is(name: str) -> None:
    samples = SAMPLES[name].astype(np.float32).astype(np.float64)
    histogram = counted(samples)
    found = METHODS["mse"](histogram)
    top = np.abs(samples).max()
    by_force = {each: squared_error(samples, each) for each in np.linspace(top / 50, top, 200)}
    best = min(by_force, key=lambda each: by_force[each])
    ours = squared_error(samples, found)
    print(f"{name}: threshold {found:.5g} with error {ours:.5e}, by brute force {best:.5g} with {by_force[best]:.5e}")
    # A bin's values are taken as spread over it: where they are not (few values, a constant), that is worth a bin's width.
    assert ours <= by_force[best] * 1.01 + histogram.width**2


@pytest.mark.parametrize(
    ("distribution", "published"),
    [
        pytest.param(stats.norm, 3.92, id="gaussian"),
        pytest.param(stats.laplace, 9.89, id="laplace"),
    ],
)
def test_squared_error_finds_the_published_optimum(distribution: stats.rv_continuous, published: float) -> None:
    """R. Banner et al., "Post training 4-bit quantization of convolutional networks", arXiv 1810.05723: 8 bits, in sigma and b."""
    histogram = Histogram("x")
    histogram.add(np.array([31.99], np.float32))
    edges = np.linspace(0, histogram.limit, BINS + 1)
    histogram.counts = np.round(1e15 * -2 * np.diff(distribution.sf(edges))).astype(np.int64)
    found = METHODS["mse"](histogram)
    print(f"threshold {found:.3f}, published {published}, difference {abs(found - published):.3f}")
    assert found == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("percent", [99.9, 99.99, 99.999])
@pytest.mark.parametrize("name", SAMPLES)
def test_percentile_is_numpys_within_a_bin(name: str, percent: float) -> None:
    histogram = counted(SAMPLES[name])
    magnitudes = np.abs(SAMPLES[name].astype(np.float32))
    expected = float(np.percentile(magnitudes, percent, method="inverted_cdf"))
    found = METHODS[f"percentile_{percent}"](histogram)
    print(f"{name} at {percent}: {found:.6g}, numpy {expected:.6g}, {abs(found - expected) / histogram.width:.2f} bins")
    assert abs(found - expected) <= histogram.width


@pytest.mark.parametrize("name", SAMPLES)
def test_every_threshold_is_usable(name: str) -> None:
    found = thresholds(counted(SAMPLES[name]))
    assert list(found) == ["entropy", "max", "percentile_99.9", "percentile_99.99", "percentile_99.999", "mse"]
    assert found["max"] == np.abs(SAMPLES[name].astype(np.float32)).max()
    assert all(0 < each <= found["max"] for each in found.values())


@pytest.mark.parametrize(
    ("method", "least", "most"),
    [
        pytest.param("max", 100, 100, id="max"),
        pytest.param("entropy", 100 / 16, 10, id="entropy"),  # a sixteenth is its least
        pytest.param("percentile_99.9", 3.2, 3.4, id="percentile 99.9"),  # 3.29 sigma
        pytest.param("percentile_99.99", 3.7, 4.1, id="percentile 99.99"),  # 3.89 sigma
        pytest.param("mse", 5, 60, id="mse"),  # between the Gaussian's 3.92 and the outlier, whose error is squared
    ],
)
def test_one_outlier_moves_the_maximum_only(method: str, least: float, most: float) -> None:
    found = METHODS[method](counted(SAMPLES["one outlier"]))
    print(f"{method}: {found:.3f}")
    assert least <= found <= most


@pytest.mark.parametrize("scale", [1e-3, 1.0, 64.0])
@pytest.mark.parametrize("method", METHODS)
def test_thresholds_scale_with_the_values(method: str, scale: float) -> None:
    unscaled, scaled = (METHODS[method](counted(SAMPLES["laplace"] * each)) for each in (1.0, scale))
    tolerance = 1e-6 if scale != 1e-3 or method == "max" else 0.03  # a power of two moves no bin's edge
    print(f"{method} at {scale:g}: {scaled / scale:.5g}, unscaled {unscaled:.5g}")
    assert scaled == pytest.approx(unscaled * scale, rel=tolerance)


@pytest.mark.parametrize("method", METHODS)
def test_sign_does_not_matter(method: str) -> None:
    assert METHODS[method](counted(SAMPLES["silu"])) == METHODS[method](counted(-SAMPLES["silu"]))


def test_nothing_but_zeros_is_refused() -> None:
    with pytest.raises(InputError, match=r"^expected values other than 0 in x, found 3 zeros;") as error:
        thresholds(counted(np.zeros(3)))
    assert "\n" not in str(error.value)
