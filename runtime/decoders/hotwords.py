"""Hotwords: phrases that an application expects, which the prefix beam search favours."""

from collections.abc import Iterable, Mapping, Sequence

from ..errors import InputError
from .transcript import text_of

WEIGHT = 6.0
"""Of a hotword that is given without one. Chosen on calibration speech (`python -m bench hotwords`)."""
MOST = 20.0
"""The largest weight: with more, hotwords are heard where there are none."""
HotwordChoice = Iterable[str] | Mapping[str, float]
"""Phrases, or each with its weight: what it adds to a hypothesis that has it, natural log-probability."""


class Hotwords:
    """A trie over the phrases' letters, as a dictionary of their beginnings, so that any spelling in pieces is found.

    A beginning has its share of the phrase's weight, so that the search keeps it; it is lost where the text goes on otherwise.
    """

    def __init__(self, choice: HotwordChoice, vocabulary: Sequence[str]) -> None:
        """Raises InputError for a phrase that is empty or that the vocabulary cannot spell, and for a weight out of 0..MOST."""
        weights = choice if isinstance(choice, Mapping) else dict.fromkeys(_checked(choice), WEIGHT)
        letters = set("".join(text_of(vocabulary)))
        self.beginnings: dict[str, float] = {}
        """Each beginning of a phrase, itself included, and its share of the weight."""
        self.phrases: dict[str, float] = {}
        """Each phrase and its weight."""
        for given, weight in weights.items():
            if not isinstance(weight, int | float) or not 0 < weight <= MOST:
                raise InputError(
                    f"expected a weight above 0 and up to {MOST:g} for the hotword {given!r}, found {weight!r}; {WEIGHT:g} is usual"
                )
            phrase = _spelled(given, letters)
            self.phrases[phrase] = max(weight, self.phrases.get(phrase, 0.0))
            for length in range(1, len(phrase) + 1):
                beginning, share = phrase[:length], weight * length / len(phrase)
                self.beginnings[beginning] = max(share, self.beginnings.get(beginning, 0.0))

    @property
    def words(self) -> frozenset[str]:
        """The phrases' words."""
        return frozenset(word for phrase in self.phrases for word in phrase.split(" "))

    @property
    def most(self) -> float:
        """The largest weight; 0 without hotwords."""
        return max(self.phrases.values(), default=0.0)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.phrases)

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


def _checked(choice: Iterable[str]) -> list[str]:
    """The phrases of a sequence of them. Raises InputError for a single text, whose letters would be taken for phrases."""
    if isinstance(choice, str):
        raise InputError(f"expected a list of hotwords, found the text {choice!r}; give [{choice!r}]")
    return list(choice)


def _spelled(given: object, letters: set[str]) -> str:
    """The phrase in the vocabulary's letters: in lower case where it has no others."""
    phrase = " ".join(given.split()) if isinstance(given, str) else ""
    if not phrase:
        raise InputError(f"expected a hotword of letters, found {given!r}; leave it out")
    if not letters.issuperset(phrase):
        phrase = phrase.lower()
    if missing := "".join(dict.fromkeys(letter for letter in phrase if letter not in letters)):
        raise InputError(
            f"expected hotwords that the recogniser's pieces can spell, found {given!r} with {missing!r}; "
            f"spell it in other letters, or leave it out"
        )
    return phrase
