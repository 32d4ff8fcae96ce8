"""Which words of the reference recognised words are, and which are wrong: against jiwer's counts and by hand."""

from types import SimpleNamespace

import pytest

from bench.score.words import aligned, matches

E, S, I = "equal", "substitute", "insert"  # noqa: E741 -- as wide as the table


@pytest.mark.parametrize(
    ("reference", "words", "kinds", "places"),
    [
        ("The cat sat.", ["the", "cat", "sat"], [E, E, E], [(0,), (1,), (2,)]),
        ("The cat sat.", ["the", "hat", "sat"], [E, S, E], [(0,), (), (2,)]),
        ("the cat sat", ["the", "sat"], [E, E], [(0,), (2,)]),
        ("the cat sat on the mat", ["the", "hat", "sat", "the", "big", "mat"], [E, S, E, S, S, E], None),
        ("one", ["two", "three"], [I, S], [(), ()]),
        ("", ["one"], [I], [()]),
        ("a well-known fact", ["A", "well-known,", "fact"], [E, E, E], [(0,), (1, 2), (3,)]),
        ("a well known fact", ["a", "well-worn", "fact"], [E, S, E], [(0,), (), (3,)]),
        ("Mr. Smith", ["mister", "Smith"], [E, E], [(0,), (1,)]),
        ("the cat", ["the", "⁇", "-", "cat"], [E, None, None, E], [(0,), (), (), (1,)]),
        ("one two", ["one", "\u2026", "two"], [E, None, E], [(0,), (), (1,)]),
        ("the cat", [], [], []),
        ("the cat", ["⁇"], [None], [()]),
        ("the cat", ["dog"], [S], [()]),
    ],
)
def test_matches(
    reference: str, words: list[str], kinds: list[str | None], places: list[tuple[int, ...]] | None
) -> None:
    found = matches(reference, words, "en")
    assert [word.kind for word in found] == kinds
    assert places is None or [word.places for word in found] == places
    alignment = aligned(SimpleNamespace(reference=reference, hypothesis=" ".join(words), lang="en"))
    if len([kind for kind in kinds if kind]) == alignment.hits + alignment.substitutions + alignment.insertions:
        counts = (alignment.hits, alignment.substitutions, alignment.insertions)
        assert tuple(map(kinds.count, (E, S, I))) == counts
