"""Token ids, their text and their words, as they grow."""

import re
from collections.abc import Callable, Sequence
from copy import copy

from typing_extensions import Self

from ..words import NOTHING, Found, Piece, Spelled, Word

WORD_START = "▁"  # SentencePiece's space
UNKNOWN = ("<unk>", " ⁇ ")  # as SentencePiece decodes it
LANGUAGE_TAG = re.compile(f"{WORD_START}?<[a-z]{{2}}-[A-Z]{{2}}>")
"""What a checkpoint of many languages says at an utterance's end of the language that it heard: a token, and no text."""


def text_of(vocabulary: Sequence[str]) -> list[str]:
    """What each piece writes, by token id."""
    pieces = ("" if LANGUAGE_TAG.fullmatch(piece) else piece for piece in vocabulary)
    return [UNKNOWN[1] if piece == UNKNOWN[0] else piece.replace(WORD_START, " ") for piece in pieces]


class Transcript:
    """Pieces joined into text as SentencePiece joins them."""

    def __init__(self, texts: Sequence[str], word: Callable[[Spelled, Found, int | None], Word]) -> None:
        """`texts`: as `text_of` has them; `word`: as `WordMaker.word`."""
        self._text_of, self._word = texts, word
        self._tokens: list[int] = []
        self._text = " "  # so that no piece adds a space at the start
        self._ended: list[Word] = []
        self._open: Spelled | None = None
        self.found = NOTHING
        """What the search knows of the word in progress."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids so far."""
        return tuple(self._tokens)

    @property
    def text(self) -> str:
        """Text so far."""
        return self._text.strip(" ")

    @property
    def words(self) -> tuple[Word, ...]:
        """The text's words; the last one may be in progress."""
        return (*self._ended, self._word(self._open, self.found, None)) if self._open else tuple(self._ended)

    @property
    def ended(self) -> int:
        """How many of the words another piece would not go on with."""
        return len(self._ended)

    def add(self, piece: Piece, found: Found = NOTHING) -> None:
        """Append one token; `found`: what the search knows of the word that it ends."""
        self._tokens.append(piece.token)
        text = self._text_of[piece.token]
        self._text += text.lstrip(" ") if self._text.endswith(" ") else text
        going_on, *others = text.split(" ")
        self._spell(going_on, piece)
        for other in others:
            if self._open:
                self._ended.append(self._word(self._open, found, piece.frame))
                self._open = None
            self._spell(other, piece)

    def _spell(self, letters: str, piece: Piece) -> None:
        if letters:
            text, first, _, log_prob = self._open or Spelled("", piece.frame, piece.frame, 0.0)
            # A piece counts once for each word that it spells a part of.
            self._open = Spelled(text + letters, first, piece.frame, log_prob + piece.log_prob)

    def copy(self) -> Self:
        """One that grows apart from this."""
        other = copy(self)
        other._tokens, other._ended = self._tokens.copy(), self._ended.copy()  # noqa: SLF001 -- its own class
        return other
