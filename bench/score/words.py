"""Where a transcript departs from its reference, word by word: jiwer's alignment of both texts, normalised."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import jiwer

from bench.score.normalise import LANGUAGES, normalise
from runtime.errors import InputError


@dataclass(frozen=True)
class Edit:
    """Words that agree, a word in another's place, words left out or words put in."""

    kind: str  # jiwer's: equal, substitute, delete or insert
    reference: str  # empty: put in
    hypothesis: str  # empty: left out


@dataclass(frozen=True)
class Alignment:
    """A transcript's edits in order, and their words by kind."""

    edits: tuple[Edit, ...]
    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """Words that are wrong, missing or too many."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def words(self) -> int:
        """Words of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def wer(self) -> float:
        """Errors in percent of the reference's words; of one word where it has none."""
        return 100 * self.errors / max(1, self.words)


class Recognised(Protocol):
    """What was said, what was recognised, and in which language."""

    @property
    def reference(self) -> str:
        """Transcript as published."""

    @property
    def hypothesis(self) -> str:
        """Text as recognised."""

    @property
    def lang(self) -> str:
        """Language code."""


def aligned(text: Recognised) -> Alignment:
    """Align a hypothesis with its reference. Raises InputError for a language that the normaliser does not know."""
    if text.lang not in LANGUAGES:
        raise InputError(
            f"expected texts in a language out of {', '.join(LANGUAGES)}, found {text.lang!r}; measure again with --lang"
        )
    found = jiwer.process_words(normalise(text.reference, text.lang), normalise(text.hypothesis, text.lang))
    references, hypotheses = found.references[0], found.hypotheses[0]
    edits: list[Edit] = []
    for chunk in found.alignments[0]:
        words = references[chunk.ref_start_idx : chunk.ref_end_idx]
        others = hypotheses[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "substitute":  # a word each: which one stands for which
            edits += [Edit(chunk.type, word, other) for word, other in zip(words, others, strict=True)]
        else:
            edits.append(Edit(chunk.type, " ".join(words), " ".join(others)))
    return Alignment(tuple(edits), found.hits, found.substitutions, found.deletions, found.insertions)


@dataclass(frozen=True)
class Match:
    """What a recognised word is of the reference."""

    kind: str | None
    """jiwer's: equal, substitute or insert; None for a word without letters, which the normaliser drops."""
    places: tuple[int, ...] = ()
    """Of a word that is right, which words of the normalised reference it is: several where the normaliser takes it apart."""


def matches(reference: str, words: Sequence[str], lang: str) -> list[Match]:
    """Judge each recognised word. One that the normaliser takes apart is as bad as the first of its parts that is wrong.

    Raises KeyError for a language that the normaliser does not know.
    """
    spelled = [normalise(word, lang).split() for word in words]
    found = jiwer.process_words(normalise(reference, lang), " ".join(part for parts in spelled for part in parts))
    parts = [
        Match(chunk.type, (chunk.ref_start_idx + offset,))
        for chunk in found.alignments[0]
        for offset in range(chunk.hyp_end_idx - chunk.hyp_start_idx)
    ]
    left = iter(parts)
    return [_together([part for _, part in zip(letters, left, strict=False)]) for letters in spelled]


def _together(parts: Sequence[Match]) -> Match:
    if not parts:
        return Match(None)
    wrong = next((part.kind for part in parts if part.kind != "equal"), None)
    return Match(wrong) if wrong else Match("equal", tuple(place for part in parts for place in part.places))
