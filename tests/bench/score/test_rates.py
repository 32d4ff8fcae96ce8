"""Error rates, percentiles and words taken back against values worked out by hand and a plain edit distance."""

import random
from collections.abc import Sequence

import pytest

from bench.score.rates import churn, error_rates, percentiles, retracted


def edits(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Levenshtein's distance, row by row."""
    above = list(range(len(hypothesis) + 1))
    for i, wanted in enumerate(reference, start=1):
        here = [i]
        for j, found in enumerate(hypothesis, start=1):
            here.append(min(above[j] + 1, here[-1] + 1, above[j - 1] + (wanted != found)))
        above = here
    return above[-1]


@pytest.mark.parametrize(
    ("references", "hypotheses", "wer", "cer"),
    [
        (["the cat sat"], ["the cat sat"], 0, 0),
        (["The cat, sat!"], ["the cat sat"], 0, 0),
        (["the cat sat", "a dog"], ["the cat sit on", ""], 80, 56.25),  # 1 sub, 1 ins, 2 del of 5; 4 and 5 of 16
        (["one"], [""], 100, 100),
        (["one"], ["one two three"], 200, 1000 / 3),
        (["Mr. Fox"], ["mister fox"], 0, 0),
    ],
)
def test_error_rates(references: list[str], hypotheses: list[str], wer: float, cer: float) -> None:
    rates = error_rates(references, hypotheses, "en")
    assert (rates["wer"], rates["cer"]) == pytest.approx((wer, cer))


def test_error_rates_against_a_plain_edit_distance() -> None:
    draw = random.Random(0)
    words = ["a", "bee", "cat", "dog", "eel's"]
    references = [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(40)]
    hypotheses = [" ".join(draw.choices(words, k=draw.randint(0, 12))) for _ in range(40)]
    pairs = list(zip(references, hypotheses, strict=True))
    wer = 100 * sum(edits(r.split(), h.split()) for r, h in pairs) / sum(len(r.split()) for r in references)
    cer = 100 * sum(edits(r, h) for r, h in pairs) / sum(len(r) for r in references)
    rates = error_rates(references, hypotheses, "en")
    print(f"{rates}, WER against {wer}, CER against {cer}")
    assert (rates["wer"], rates["cer"]) == pytest.approx((wer, cer))


def test_error_rates_of_nothing() -> None:
    assert error_rates([], [], "en") == {"wer": None, "cer": None}


@pytest.mark.parametrize(("references", "hypotheses"), [(["..."], ["a"]), (["a", "b"], ["a"])])
def test_what_has_no_error_rate(references: list[str], hypotheses: list[str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        error_rates(references, hypotheses, "en")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (None, None, None)),
        ([None], (None, None, None)),
        ([7.0], (7, 7, 7)),
        ([5.0, None, 1.0, 3.0, 2.0, 4.0], (3, 4.8, 4.96)),
    ],
)
def test_percentiles(values: list[float | None], expected: tuple[float | None, ...]) -> None:
    found = percentiles(values)
    assert list(found) == ["p50", "p95", "p99"]
    assert tuple(found.values()) == pytest.approx(expected)


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
    assert churn(1, ["a c d", "x"]) == pytest.approx(1 / 4)
    assert churn(0, ["", ""]) is None
