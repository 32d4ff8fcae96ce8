"""Greedy decoding whose state is carried across chunks: a token that was decided stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..words import Piece, WordMaker
from .transcript import Transcript, text_of

if TYPE_CHECKING:  # Triton's decoder is this file without the backends
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from ..backends.base import StepResult


def first(output: npt.NDArray[Any] | None, frames: int) -> npt.NDArray[Any]:
    """Return the first `frames` frames of a step's output. Raises ValueError for a backend that was opened for another decoder."""
    if output is None:
        raise ValueError("expected a backend that was opened for this decoder, found one without its output")
    return output[:frames]


class Greedy(Transcript):
    """What both decoders keep beside their tokens."""

    def __init__(self, vocabulary: Sequence[str], blank: int, make: WordMaker) -> None:
        super().__init__(text_of(vocabulary), make.word)
        self._blank = self._last = blank
        self._frames = 0
        self.blank_frames = 0
        self.stable = 0

    def finish(self) -> None:
        """Every word is as it will be."""
        self.stable = len(self.words)

    def _add_frame(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self.add(piece)
        self._frames += 1
        self.stable = self.ended


class GreedyCtc(Greedy):
    """Collapses repeats and blanks (Graves et al. 2006); a repeat may span two chunks. A Decoder.

    Its times are those of the likeliest alignment: each frame's best token is on it.
    """

    def push(self, result: StepResult, frames: int) -> bool:
        """Take the best token of each new frame; return whether the text grew."""
        tokens = first(result.tokens, frames)
        if self._last == self._blank and tokens.tolist() == [self._blank] * len(tokens):  # as two of three chunks are
            self._frames += len(tokens)
            self.blank_frames += len(tokens)
            self.stable = self.ended
            return False
        return self.push_best(tokens, first(result.log_probs, frames).max(-1))

    def push_best(self, tokens: npt.NDArray[np.int32], log_probs: npt.NDArray[np.float32]) -> bool:
        """Take the best tokens [n] and their log-probabilities [n]; return whether the text grew."""
        before = len(self._tokens)
        for token, log_prob in zip(tokens.tolist(), log_probs.tolist(), strict=True):
            new = token not in (self._last, self._blank)
            self._add_frame([Piece(token, self._frames, log_prob)] if new else [])
            self.blank_frames = self.blank_frames + 1 if token == self._blank else 0
            self._last = token
        return len(self._tokens) > before


class GreedyRnnt(Greedy):
    """Collects the tokens of each frame (Graves 2012), which the backend decides and whose state it keeps. A Decoder."""

    def push(self, result: StepResult, frames: int) -> bool:
        """Take each new frame's tokens; return whether the text grew."""
        before = len(self._tokens)
        for symbols, log_probs in zip(
            first(result.symbols, frames), first(result.symbol_log_probs, frames), strict=True
        ):
            pieces = [
                Piece(token, self._frames, log_prob)
                for token, log_prob in zip(symbols.tolist(), log_probs.tolist(), strict=True)
                if token != self._blank
            ]
            self._add_frame(pieces)
            self.blank_frames = 0 if pieces else self.blank_frames + 1
        return len(self._tokens) > before
