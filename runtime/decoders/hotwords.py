"""Hotwords: phrases that an application expects, which the prefix beam search favours."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from ..errors import InputError
from .transcript import UNKNOWN, text_of

WEIGHT = 8.0
"""Of a hotword of LONG characters or more that is given without one. Chosen on calibration speech, see docs/streaming.md."""
LONG = 10
"""A shorter hotword has a smaller share of WEIGHT: the shorter it is, the more often something sounds like it."""
LARGEST = 20.0
"""The largest weight: with more, hotwords are heard where there are none."""
MOST = 10_000
"""Hotwords at once: words of ten characters take 10 MB and 0.3 s to read, the longest 150 MB and 2 s."""
LONGEST = 100
"""Characters in a hotword: every beginning of one is kept."""
HotwordChoice = Iterable[str] | Mapping[str, float]
"""Phrases, or each with its weight: what it adds to a hypothesis that has it, natural log-probability."""


def usual_weight(phrase: str) -> float:
    """Return the weight of a phrase that is given without one."""
    return WEIGHT * min(1.0, len(_written(phrase)) / LONG)


class Hotwords:
    """A trie over the phrases' letters, as a dictionary of their beginnings, so that any spelling in pieces is found.

    A beginning has its share of the phrase's weight, so that the search keeps it; it is lost where the text goes on otherwise.
    """

    def __init__(self, choice: HotwordChoice, vocabulary: Sequence[str]) -> None:
        """Read the phrases.

        Raises InputError for what is no list of phrases, or one of more than MOST, for a phrase that is empty, longer than LONGEST or
        that the vocabulary cannot spell, and for a weight out of 0..LARGEST.
        """
        pieces = frozenset(text_of(vocabulary)) - {UNKNOWN[1]}
        self.phrases: dict[str, float] = {}
        """Each phrase and its weight."""
        self.beginnings: dict[str, float] = {}
        """Each beginning of a phrase, itself included, and its share of the weight."""
        for given, asked in _given(choice):
            own = _checked(given, asked) if isinstance(choice, Mapping) else None
            phrase = _spelled(given, pieces)
            weight = usual_weight(phrase) if own is None else own
            self.phrases[phrase] = max(weight, self.phrases.get(phrase, 0.0))
            for length in range(1, len(phrase) + 1):
                beginning, share = phrase[:length], weight * length / len(phrase)
                self.beginnings[beginning] = max(share, self.beginnings.get(beginning, 0.0))
        self.most = max(map(self._with_others_in_it, self.phrases), default=0.0) + max(
            self.beginnings.values(), default=0.0
        )
        """What a piece may add at the most, by ending phrases and by beginning one; 0 without hotwords."""
        self.words = frozenset(word for phrase in self.phrases for word in phrase.split(" "))
        """The phrases' words."""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.phrases)

    def _with_others_in_it(self, phrase: str) -> float:
        """What a phrase adds with all that end with it."""
        words = phrase.split(" ")
        return sum(self.phrases.get(" ".join(words[first:]), 0.0) for first in range(len(words)))

    def begun(self, before: Sequence[str], word: str) -> float | None:
        """The largest share of a beginning that ends in `word`, the word in progress; None where there is none.

        `before`: see `ended`.
        """
        share = self.beginnings.get(word)
        for words in before:
            share = max(share or 0.0, self.beginnings.get(words + word, 0.0)) or None
        return share

    def ended(self, before: Sequence[str], word: str) -> tuple[float, tuple[str, ...]]:
        """What a word that ended adds for good, and the phrases in progress after it, each with a space at its end.

        `before`: the same of the word before.
        """
        texts = [word, *(words + word for words in before)]
        gained = sum(self.phrases.get(text, 0.0) for text in texts)
        return gained, tuple(f"{text} " for text in texts if f"{text} " in self.beginnings)


def _given(choice: HotwordChoice) -> list[tuple[object, object]]:
    """The phrases, each with its weight if it has one."""
    if isinstance(choice, str):  # its letters would be taken for phrases
        raise InputError(f"expected a list of hotwords, found the text {choice!r}; give [{choice!r}]")
    if isinstance(choice, bytes | bytearray) or not isinstance(choice, Iterable):
        raise InputError(
            f"expected a list of hotwords or a dict of their weights, found {choice!r}; give [] for no hotwords"
        )
    pairs = choice.items() if isinstance(choice, Mapping) else ((each, None) for each in choice)
    given: list[tuple[object, object]] = list(islice(pairs, MOST + 1))
    if len(given) > MOST:
        raise InputError(f"expected at most {MOST:,} hotwords, found more; keep those that are likely to be said")
    return given


def _checked(given: object, weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= LARGEST:
        raise InputError(
            f"expected a weight above 0 and up to {LARGEST:g} for the hotword {given!r}, found {weight!r}; {WEIGHT:g} is usual"
        )
    return weight


def _written(phrase: str) -> str:
    """In composed letters, with a space between words."""
    return " ".join(unicodedata.normalize("NFC", phrase).split())


def _spelled(given: object, pieces: frozenset[str]) -> str:
    """The phrase as the pieces spell it: in lower case where they have no other letters."""
    phrase = _written(given) if isinstance(given, str) else ""
    if not phrase:
        raise InputError(f"expected a hotword of letters, found {given!r}; leave it out, or give weights as a dict")
    if len(phrase) > LONGEST:
        raise InputError(
            f"expected a hotword of at most {LONGEST} characters, found {len(phrase):,}: {phrase[:20]!r}...; give its rare words alone"
        )
    for cased in dict.fromkeys((phrase, phrase.lower())):
        spelled = _spelled_up_to(f" {cased}", pieces) - 1
        if spelled == len(cased):
            return cased
    raise InputError(
        f"expected hotwords that the recogniser's pieces can spell, found {given!r}, where none goes on with {cased[max(0, spelled)]!r}; "
        f"spell it in other letters, or leave it out"
    )


def _spelled_up_to(text: str, pieces: frozenset[str]) -> int:
    """How many of the first characters some sequence of pieces spells."""
    longest = max(map(len, pieces), default=0)
    reached = {0}
    for start in range(len(text)):
        if start in reached:
            ends = range(start + 1, min(start + longest, len(text)) + 1)
            reached.update(end for end in ends if text[start:end] in pieces)
    return max(reached)
