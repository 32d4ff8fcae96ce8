"""The difference of two error rates: counted by hand, its interval against scipy's bootstrap and a slow loop."""

import jiwer
import numpy as np
import pytest
from scipy.stats import bootstrap

from bench.results import pairs_of
from bench.rows import UtteranceRecord
from bench.score import bootstrap as paired
from bench.score.bootstrap import Difference, label, paired_difference, percentile_interval
from bench.score.rates import error_rates
from runtime.errors import InputError


def record(reference: str, hypothesis: str, audio: str = "a", data: str = "set_en") -> UtteranceRecord:
    return UtteranceRecord(
        data=data, lang="en", mode="utterance", audio=audio, reference=reference, hypothesis=hypothesis, audio_s=1.0
    )


def made_up(clips: int, seed: int) -> tuple[list[UtteranceRecord], list[UtteranceRecord]]:
    """Clips of 3 to 20 words, of which two recognisers get some wrong, mostly the same ones."""
    rng = np.random.default_rng(seed)
    sides: tuple[list[UtteranceRecord], ...] = ([], [])
    for clip in range(clips):
        words = [f"word{letter}" for letter in rng.choice(list("abcdefgh"), rng.integers(3, 21))]
        hard = rng.random(len(words)) < 0.3
        for side in sides:
            wrong = hard ^ (rng.random(len(words)) < 0.05)
            side.append(
                record(
                    " ".join(words),
                    " ".join("x" if bad else word for word, bad in zip(words, wrong, strict=True)),
                    str(clip),
                )
            )
    return sides[0], sides[1]


@pytest.mark.parametrize(
    ("a", "b", "points", "words"),
    [
        ([("one two", "one two")], [("one two", "one two")], 0.0, 2),
        ([("one two", "one two")], [("one two", "one too")], 50.0, 2),
        ([("one two", "")], [("one two", "one two three")], -50.0, 2),
        ([("One, two.", "one two")], [("One, two.", "ONE TWO!")], 0.0, 2),
        ([("a b c", "a b c"), ("d", "x y")], [("a b c", "a"), ("d", "d")], 0.0, 4),  # 2 errors on either side
        ([("a b c", "a b c"), ("d", "d")], [("a b c", "a"), ("d", "")], 75.0, 4),
    ],
)
def test_points(a: list[tuple[str, str]], b: list[tuple[str, str]], points: float, words: int) -> None:
    left, right = ([record(*pair, audio=str(place)) for place, pair in enumerate(side)] for side in (a, b))
    found = paired_difference(pairs_of(left, right))
    assert (found.points, found.words) == (points, words)
    assert found.wer_b - found.wer_a == points
    assert paired_difference(pairs_of(left, right[::-1])) == found  # matched by name, not by place
    assert (found.low is None) is (len(a) == 1)
    if found.low is not None and found.high is not None:
        assert found.low <= points <= found.high


@pytest.mark.parametrize(("clips", "seed"), [(2, 1), (20, 2), (164, 3), (500, 4)])
def test_interval_is_scipy_s(clips: int, seed: int) -> None:
    a, b = made_up(clips, seed)
    found = paired_difference(pairs_of(a, b))
    counts = []
    for left, right in zip(a, b, strict=True):
        errors = [
            round(jiwer.wer(left.reference, each.hypothesis) * len(left.reference.split())) for each in (left, right)
        ]
        counts.append((*errors, len(left.reference.split())))

    def points(errors_a: np.ndarray, errors_b: np.ndarray, words: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(100 * (errors_b.sum(axis) - errors_a.sum(axis)) / words.sum(axis))

    expected = bootstrap(
        np.array(counts).T, points, paired=True, n_resamples=20_000, method="percentile", rng=np.random.default_rng(9)
    )
    interval = expected.confidence_interval
    print(f"ours {found.low:.3f} to {found.high:.3f}, scipy {interval.low:.3f} to {interval.high:.3f}")
    assert found.low == pytest.approx(interval.low, abs=0.06 * (interval.high - interval.low))
    assert found.high == pytest.approx(interval.high, abs=0.06 * (interval.high - interval.low))
    rates = [
        error_rates([each.reference for each in side], [each.hypothesis for each in side], "en") for side in (a, b)
    ]
    assert (found.wer_a, found.wer_b) == pytest.approx((rates[0]["wer"], rates[1]["wer"]))


def test_interval_is_a_slow_loop_s_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    more, words = np.array([1, 0, -1, 2, 0]), np.array([5, 3, 8, 4, 9])
    found = paired._interval(more, words)
    rng = np.random.default_rng(paired.SEED)
    points = []
    for _ in range(paired.RESAMPLES):
        drawn = rng.integers(5, size=5)
        points.append(100 * sum(more[each] for each in drawn) / sum(words[each] for each in drawn))
    assert found == pytest.approx(tuple(np.percentile(points, [2.5, 97.5])))
    monkeypatch.setattr(paired, "DRAWS", 7 * 5)  # in many small pieces
    assert paired._interval(more, words) == found


def test_utterances_of_two_sets_may_share_a_name() -> None:
    a = [record("one", "one", data="x_en"), record("two", "to", data="y_en")]
    b = [record("two", "two", data="y_en"), record("one", "won", data="x_en")]
    found = paired_difference(pairs_of(a, b))
    assert (found.wer_a, found.wer_b, found.words) == (50.0, 50.0, 2)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([], [], "found 0 and 0"),
        ([record("one", "one")], [], "found 1 and 0, of them 0 on both"),
        ([record("one", "one")], [record("one", "one", "b")], "found 1 and 1, of them 0 on both"),
        ([record("one", "one")], [record("two", "one")], "found 1 and 1, of them 0 on both"),
        ([record("one", "one")], [record("one", "one"), record("two", "two", "b")], "found 1 and 2, of them 1 on both"),
        (
            [record("one", ""), record("...", "", "b")],
            [record("one", ""), record("...", "a", "b")],
            r"found none in '\.\.\.'",
        ),
    ],
)
def test_other_clips(a: list[UtteranceRecord], b: list[UtteranceRecord], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        paired_difference(pairs_of(a, b))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (Difference(1, 1, -0.0475, -0.15, -0.001, 9), "-0.05 (-0.15 to +0.00)"),
        (Difference(1, 1, 0.5, None, None, 9), "+0.50"),
        (Difference(1, 1, -0.0, -0.0, 0.0, 9), "+0.00 (+0.00 to +0.00)"),
    ],
)
def test_label(difference: Difference, expected: str) -> None:
    assert label(difference.points, difference.low, difference.high) == expected
    assert label(None, None, None) == "-"


@pytest.mark.parametrize(("percent", "missing"), [(50, 0), (95, 0), (50, 12), (95, 12)])
def test_percentiles_are_numpy_s_of_the_same_draws(percent: int, missing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "RESAMPLES", 500)
    rng = np.random.default_rng(3)
    a, b = rng.gamma(2, 50, 30), rng.gamma(2, 60, 30)
    b[rng.permutation(30)[:missing]] = np.nan
    drawn = np.random.default_rng(paired.SEED).integers(30, size=(500, 30))
    slow = [np.nanpercentile(b[each], percent) - np.nanpercentile(a[each], percent) for each in drawn]
    found = percentile_interval(a.tolist(), [None if np.isnan(each) else each for each in b], percent)
    assert found == pytest.approx(tuple(np.percentile(slow, paired.INTERVAL)), abs=1e-9)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, None, None]])
def test_too_few_values_have_no_interval(values: list[float | None]) -> None:
    assert percentile_interval(values, [2.0] * len(values), 50) is None
