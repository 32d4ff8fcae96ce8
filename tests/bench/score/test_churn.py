"""Words taken back, by hand."""

import pytest
from bench.score.churn import churn, retracted


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "the", 0),
        ("the", "the cat", 0),
        ("the ca", "the cats sat", 0),  # the last word goes on
        ("the cat", "the dog", 1),
        ("a cat sat", "the cat sat", 3),  # all behind the first change
        ("in a", "in", 1),
        ("the", "", 1),
        ("in ten", "intent", 2),
    ],
)
def test_retracted(before: str, after: str, expected: int) -> None:
    assert retracted(before, after) == expected


def test_churn_over_utterances() -> None:
    assert churn([["a", "a b", "a c d"], ["x"]]) == pytest.approx(1 / 4)
    assert churn([[""], [""]]) is None
