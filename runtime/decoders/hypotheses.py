"""What the hypotheses of a beam share: chains of words and of tokens, each of which knows the one before it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..words import Found, Piece


@dataclass(eq=False)
class Words:
    """The completed words of a text. One object for one text, so that the same text is found by identity."""

    state: Any
    """KenLM's."""
    score: float
    word: str = ""
    """The last of them."""
    language: float = 0.0
    """Its log-probability by the language model."""
    hot: tuple[str, ...] = ()
    """Hotwords in progress, as `Hotwords.ended` has them."""
    before: "Words | None" = None
    """Without its last word; None where all hypotheses begin with these."""
    count: int = 0
    rivals: float = 0.0
    """See Found: of the last word."""

    @property
    def found(self) -> Found:
        """What the search knows of the last word."""
        return Found(self.rivals, self.language)


@dataclass(eq=False, slots=True)
class Tokens:
    """A token after others; the first of a chain was shown for good, with all before it."""

    before: "Tokens | None"
    piece: Piece
    words: Words
    """Those that are completed with it."""


def note_rival(better: Words, worse: Words, log_odds: float) -> None:
    """Note with the words of the better text, where they differ, that the worse one with the same future gave way to them."""
    ours, theirs = [better], [worse]
    while ours[-1] is not theirs[-1]:  # up to what both begin with
        longer = ours if ours[-1].count >= theirs[-1].count else theirs
        before = longer[-1].before
        if before is None:
            return
        longer.append(before)
    ours, theirs = ours[:-1], theirs[:-1]
    while ours and theirs and ours[0].word == theirs[0].word:  # down to what both end with
        ours, theirs = ours[1:], theirs[1:]
    for words in ours:
        words.rivals += math.exp(log_odds)


def chain_of(tokens: Tokens) -> list[Tokens]:
    """Return the tokens up to these, from the first on."""
    chain = [tokens]
    while (before := chain[-1].before) is not None:
        chain.append(before)
    return chain[::-1]


def shared_words(hypotheses: Iterable[Words]) -> int:
    """Return how many words all hypotheses begin with, those in progress not counted; what lies before them is forgotten."""
    different = set(hypotheses)
    while len(different) > 1:
        longest = max(different, key=lambda words: words.count)
        different.remove(longest)
        if longest.before:
            different.add(longest.before)
    shared = different.pop()
    shared.before = None  # no hypothesis parts from the others before this any more
    return shared.count
