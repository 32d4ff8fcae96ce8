"""Token ids and their text, as they grow."""

from collections.abc import Sequence
from copy import copy

WORD_START = "▁"  # SentencePiece's space
UNKNOWN = ("<unk>", " ⁇ ")  # as SentencePiece decodes it


def text_of(vocabulary: Sequence[str]) -> list[str]:
    """What each piece writes, by token id."""
    return [UNKNOWN[1] if piece == UNKNOWN[0] else piece.replace(WORD_START, " ") for piece in vocabulary]


class Transcript:
    """Pieces joined into text as SentencePiece joins them."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._text_of = text_of(vocabulary)
        self._tokens: list[int] = []
        self._text = " "  # so that no piece adds a space at the start

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids so far."""
        return tuple(self._tokens)

    @property
    def text(self) -> str:
        """Text so far."""
        return self._text.strip(" ")

    def add(self, token: int) -> None:
        """Append one token id."""
        self._tokens.append(token)
        piece = self._text_of[token]
        self._text += piece.lstrip(" ") if self._text.endswith(" ") else piece

    def copy(self) -> "Transcript":
        """One that grows apart from this."""
        other = copy(self)
        other._tokens = self._tokens.copy()  # noqa: SLF001 -- its own class
        return other
