"""Figures of confidence: an example by hand, and scikit-learn's area under the curve."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench.score.confidence import Bin, area_under_curve, calibration_error, reliability


def test_by_hand() -> None:
    confidences, right = [0.05, 0.15, 0.15, 0.95, 1.0], [False, False, True, True, True]
    bins = reliability(confidences, right)
    assert bins == [Bin(1, 0.05, 0.0), Bin(2, 0.15, 0.5), Bin(2, 0.975, 1.0)]
    assert calibration_error(bins) == pytest.approx((0.05 + 2 * 0.35 + 2 * 0.025) / 5)
    assert area_under_curve(confidences, right) == pytest.approx((2 * 2 + 1.5) / 6), "the tie counts half"


def test_edges_belong_to_the_bin_above_and_one_to_the_last() -> None:
    assert [each.words for each in reliability([0.0, 0.0999, 0.5, 1.0], [True] * 4)] == [2, 1, 1]


def test_without_words_or_without_both_kinds_there_is_no_figure() -> None:
    assert reliability([], []) == []
    assert calibration_error([]) is None
    assert area_under_curve([], []) is None
    assert area_under_curve([0.5, 0.6], [True, True]) is None
    assert area_under_curve([0.5, 0.6], [False, False]) is None


@pytest.mark.parametrize("digits", [1, 3, 12])
def test_area_is_scikit_learn_s(digits: int) -> None:
    rng = np.random.default_rng(digits)
    right = rng.random(500) < 0.7
    confidences = np.round(np.clip(rng.normal(0.4 + 0.3 * right, 0.2), 0, 1), digits)  # ties, the fewer digits the more
    found, expected = area_under_curve(confidences.tolist(), right.tolist()), roc_auc_score(right, confidences)
    print(f"{found} against {expected}")
    assert found == pytest.approx(expected, abs=1e-12)
