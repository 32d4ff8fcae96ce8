"""From a decoder's pieces to words: when each was spoken, and how likely it is right. Needs the standard library alone."""

import math
import operator
from collections.abc import Container
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

LEAST = 1e-4
"""Probabilities are kept so far from 0 and 1, where odds end and differences mean little."""


@dataclass(frozen=True)
class Word:
    """A word, and where it lies in the stream."""

    text: str
    start_s: float
    """Seconds of the stream."""
    end_s: float
    confidence: float
    """How likely the word is right, 0..1."""

    def moved(self, seconds: float) -> "Word":
        """Return the word so much later in the stream."""
        return replace(self, start_s=round(self.start_s + seconds, 3), end_s=round(self.end_s + seconds, 3))

    def within(self, end_s: float) -> "Word":
        """Return the word as far as it lies in audio that ends there."""
        return replace(self, start_s=min(self.start_s, end_s), end_s=min(self.end_s, end_s))


class Piece(NamedTuple):
    """A token that was decided."""

    token: int
    frame: int
    """Encoder frame of the utterance at which it was decided."""
    log_prob: float
    """Natural logarithm of the token's probability at that frame, by the acoustic model alone."""


class Spelled(NamedTuple):
    """A word's letters so far, and what its pieces say of it."""

    text: str
    first: int
    """Encoder frame of its first piece."""
    last: int
    """Encoder frame of its last piece."""
    log_prob: float
    """Summed over its pieces."""


class Found(NamedTuple):
    """What the search knows of a word that ended."""

    rivals: float = 0.0
    """Probability of the hypotheses with another word in its place that gave way to it, in proportion to its own."""
    language: float = 0.0
    """Natural log-probability by the language model."""


NOTHING = Found()


class Evidence(NamedTuple):
    """What a word's odds of being right are weighed from, each of them higher for words that are right."""

    pieces: float
    """Log odds of the pieces' joint probability, by the acoustic model alone."""
    rivals: float
    """Log odds of the word against its rivals."""
    language: float
    """See Found."""
    known: float
    """1 for a word of the bundle's list, 0 for another one."""
    length: float
    """Natural logarithm of the number of its letters: fewer words sound like a long one, so it is right more often."""


class Model(Protocol):
    """What is known of a decoder's words: `word_models.WordModel`, or its JSON."""

    @property
    def start_delay_s(self) -> float:
        """See WordModel."""

    @property
    def end_delay_s(self) -> float:
        """See WordModel."""

    @property
    def pieces(self) -> float:
        """See WordModel."""

    @property
    def rivals(self) -> float:
        """See WordModel."""

    @property
    def language(self) -> float:
        """See WordModel."""

    @property
    def known(self) -> float:
        """See WordModel."""

    @property
    def length(self) -> float:
        """See WordModel."""

    @property
    def offset(self) -> float:
        """See WordModel."""


@dataclass(frozen=True)
class Either:
    """The words of two sets, which are not copied for each utterance."""

    one: Container[str]
    other: Container[str]

    def __contains__(self, word: object) -> bool:
        """Whether either has it."""
        return word in self.one or word in self.other


class WordMaker:
    """Times and confidence of an utterance's words."""

    def __init__(self, model: Model, frame_s: float, start_s: float = 0.0, known: Container[str] = ()) -> None:
        """`frame_s`: length of an encoder frame; `start_s`: where the utterance starts in the stream, in whole milliseconds.

        `known`: the words that the language has.
        """
        self._model, self._frame_s, self._start_s, self._known = model, frame_s, start_s, known
        self._weights = Evidence(model.pieces, model.rivals, model.language, model.known, model.length)

    def word(self, spelled: Spelled, found: Found = NOTHING, following: int | None = None) -> Word:
        """The word, which ends where the `following` one begins at the latest; that one's first frame, or None."""
        start_s = self._begun_s(spelled.first)
        end_s = spelled.last * self._frame_s - self._model.end_delay_s
        if following is not None:
            end_s = min(end_s, self._begun_s(following))
        confidence = round(self.confidence(self.evidence(spelled, found)), 3)
        return Word(spelled.text, self._in_stream(start_s), self._in_stream(max(start_s, end_s)), confidence)

    def evidence(self, spelled: Spelled, found: Found) -> Evidence:
        """What speaks for a word."""
        rivals = 1 / (1 + found.rivals)
        return Evidence(
            pieces=_log_odds(math.exp(spelled.log_prob)),
            rivals=_log_odds(rivals),
            language=found.language,
            known=spelled.text in self._known,
            length=math.log(len(spelled.text)),
        )

    def confidence(self, evidence: Evidence) -> float:
        """Logistic regression, as Platt 1999, "Probabilistic Outputs for Support Vector Machines", with more than one input."""
        log_odds = self._model.offset + sum(map(operator.mul, self._weights, evidence))
        return (1 + math.tanh(log_odds / 2)) / 2  # the logistic function, which does not overflow

    def _in_stream(self, seconds: float) -> float:
        # In whole milliseconds: they mean no more, and the same word at another place in a stream is the same but for that.
        return round(round(seconds, 3) + self._start_s, 3)

    def _begun_s(self, frame: int) -> float:
        """When a word was begun whose first piece was decided at `frame`, in seconds of the utterance."""
        return max(0.0, frame * self._frame_s - self._model.start_delay_s)


def _log_odds(probability: float) -> float:
    probability = min(max(probability, LEAST), 1 - LEAST)
    return math.log(probability / (1 - probability))
