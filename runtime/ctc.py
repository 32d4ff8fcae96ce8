"""Greedy CTC decoding and detokenization whose state is carried across chunks."""

from collections.abc import Iterable, Sequence

WORD_START = "▁"  # SentencePiece's space
UNKNOWN = ("<unk>", " ⁇ ")  # as SentencePiece decodes it


class GreedyCtc:
    """Collapses repeats and blanks (Graves et al. 2006) and joins pieces; a repeat may span two chunks."""

    def __init__(self, vocabulary: Sequence[str], blank: int) -> None:
        self._text_of = [UNKNOWN[1] if piece == UNKNOWN[0] else piece.replace(WORD_START, " ") for piece in vocabulary]
        self._blank = blank
        self._last = blank
        self._tokens: list[int] = []
        self._text = " "  # so that no piece adds a space at the start

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids of the utterance so far."""
        return tuple(self._tokens)

    @property
    def text(self) -> str:
        """Text of the utterance so far."""
        return self._text.strip(" ")

    def push(self, best: Iterable[int]) -> bool:
        """Take the best token of each new frame; return whether the text grew."""
        before = len(self._tokens)
        for token in best:
            if token not in {self._last, self._blank}:
                self._tokens.append(int(token))
                piece = self._text_of[token]
                self._text += piece.lstrip(" ") if self._text.endswith(" ") else piece
            self._last = int(token)
        return len(self._tokens) > before
