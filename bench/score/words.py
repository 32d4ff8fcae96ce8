"""Where a transcript departs from its reference, word by word: jiwer's alignment of both texts, normalised."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
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


def word_kinds(words: Sequence[str], lang: str, alignment: Alignment) -> list[str | None]:
    """Return what kind of edit each word of the hypothesis is part of: jiwer's equal, substitute or insert.

    A word that the normaliser takes apart is as bad as the first of its parts that is wrong; one that it drops is equal. None for each
    where the normaliser makes other words of the whole text than of its words.
    """
    parts = [normalise(word, lang).split() for word in words]
    edits = [(word, edit.kind) for edit in alignment.edits for word in edit.hypothesis.split()]
    if list(chain.from_iterable(parts)) != [word for word, _ in edits]:
        return [None] * len(words)
    left = iter(edits)
    found: list[str | None] = []
    for part in parts:
        kinds = [kind for _, (_, kind) in zip(part, left, strict=False)]
        found.append(next((kind for kind in kinds if kind != "equal"), "equal"))
    return found
