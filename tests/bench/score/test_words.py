"""Which words of a transcript are wrong, against jiwer's counts and by hand."""

from types import SimpleNamespace

import pytest

from bench.score.words import aligned, word_kinds

E, S, I = "equal", "substitute", "insert"  # noqa: E741 -- as wide as the table


@pytest.mark.parametrize(
    ("reference", "words", "kinds"),
    [
        ("The cat sat.", ["the", "cat", "sat"], [E, E, E]),
        ("the cat sat on the mat", ["the", "hat", "sat", "the", "big", "mat"], [E, S, E, S, S, E]),
        ("one", ["two", "three"], [I, S]),
        ("one two", ["two"], [E]),
        ("", ["one"], [I]),
        ("mister well known", ["Mr.", "well-known"], [E, E]),
        ("well done", ["well-known"], [S]),  # taken apart, and half of it is right
        ("one two", ["one", "\u2026", "two"], [E, E, E]),  # dropped
        ("one", [], []),
    ],
)
def test_kinds(reference: str, words: list[str], kinds: list[str]) -> None:
    alignment = aligned(SimpleNamespace(reference=reference, hypothesis=" ".join(words), lang="en"))
    assert word_kinds(words, "en", alignment) == kinds
    if len(words) == alignment.hits + alignment.substitutions + alignment.insertions:
        counts = (alignment.hits, alignment.substitutions, alignment.insertions)
        assert tuple(map(kinds.count, (E, S, I))) == counts


def test_words_that_are_not_the_texts() -> None:
    alignment = aligned(SimpleNamespace(reference="one two", hypothesis="one two", lang="en"))
    assert word_kinds(["one", "too"], "en", alignment) == [None, None]
