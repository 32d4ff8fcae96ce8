"""From a decoder's pieces to words: when each was spoken, and how likely it is right. Needs the standard library alone."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

CERTAIN = 1e-6
"""Probabilities are kept so far from 0 and 1, where their odds end."""


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


class Model(Protocol):
    """What is known of a decoder's words: `WordModel`, or a part of its JSON."""

    start_delay_s: float
    end_delay_s: float
    weight: float
    offset: float


class WordMaker:
    """Times and confidence of an utterance's words."""

    def __init__(self, model: Model, frame_s: float, start_s: float = 0.0) -> None:
        """`frame_s`: length of an encoder frame; `start_s`: where the utterance starts in the stream, in whole milliseconds."""
        self._model, self._frame_s, self._start_s = model, frame_s, start_s

    def word(self, spelled: Spelled, following: int | None = None) -> Word:
        """The word, which ends where the `following` one begins at the latest; that one's first frame, or None."""
        start_s = self._begun_s(spelled.first)
        end_s = spelled.last * self._frame_s - self._model.end_delay_s
        if following is not None:
            end_s = min(end_s, self._begun_s(following))
        # In whole milliseconds: they mean no more, and the same words at another place in a stream are the same but for that.
        word = Word(spelled.text, start_s, max(start_s, end_s), round(self._confidence(spelled.log_prob), 3))
        return word.moved(0.0).moved(self._start_s)

    def _begun_s(self, frame: int) -> float:
        """When a word was begun whose first piece was decided at `frame`, in seconds of the utterance."""
        return max(0.0, frame * self._frame_s - self._model.start_delay_s)

    def _confidence(self, log_prob: float) -> float:
        """Platt's scaling of the pieces' joint probability (Platt 1999, "Probabilistic Outputs for Support Vector Machines")."""
        probability = min(max(math.exp(log_prob), CERTAIN), 1 - CERTAIN)
        odds = self._model.weight * math.log(probability / (1 - probability)) + self._model.offset
        return 1 / (1 + math.exp(-odds))
