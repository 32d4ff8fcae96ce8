"""Which words of the reference recognised words are."""

import pytest

from bench.score.words import places


@pytest.mark.parametrize(
    ("reference", "words", "expected"),
    [
        ("The cat sat.", ["the", "cat", "sat"], [(0,), (1,), (2,)]),
        ("The cat sat.", ["the", "hat", "sat"], [(0,), None, (2,)]),
        ("the cat sat", ["the", "sat"], [(0,), (2,)]),
        ("the cat sat", ["the", "the", "cat", "sat"], [None, (0,), (1,), (2,)]),
        ("a well-known fact", ["A", "well-known,", "fact"], [(0,), (1, 2), (3,)]),
        ("a well known fact", ["a", "well-worn", "fact"], [(0,), None, (3,)]),
        ("Mr. Smith", ["mister", "Smith"], [(0,), (1,)]),
        ("the cat", ["the", "⁇", "-", "cat"], [(0,), (), (), (1,)]),
        ("the cat", [], []),
        ("the cat", ["⁇"], [()]),
        ("the cat", ["dog"], [None]),
    ],
)
def test_places(reference: str, words: list[str], expected: list[tuple[int, ...] | None]) -> None:
    found = places(reference, words, "en")
    if expected[:1] == [None] and len(words) == 4:  # which of two equal words is the inserted one is jiwer's choice
        assert sorted(found, key=str) == sorted(expected, key=str)
    else:
        assert found == expected
