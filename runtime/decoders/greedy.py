"""Greedy decoding whose state is carried across chunks: a token that was decided stays."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from .transcript import Transcript


class Greedy(Transcript):
    """What both decoders keep beside their tokens."""

    def __init__(self, vocabulary: Sequence[str], blank: int) -> None:
        super().__init__(vocabulary)
        self._blank = self._last = blank
        self.blank_frames = 0

    def finish(self) -> None:
        """Nothing is open."""


class GreedyCtc(Greedy):
    """Collapses repeats and blanks (Graves et al. 2006); a repeat may span two chunks. A Decoder."""

    fed = "tokens"

    def push(self, frames: Iterable[int]) -> bool:
        """Take the best token of each new frame; return whether the text grew."""
        before = len(self._tokens)
        for token in map(int, frames):
            if token not in (self._last, self._blank):
                self.add(token)
            self.blank_frames = self.blank_frames + 1 if token == self._blank else 0
            self._last = token
        return len(self._tokens) > before


class GreedyRnnt(Greedy):
    """Collects the tokens of each frame (Graves 2012), which the backend decides and whose state it keeps. A Decoder."""

    fed = "symbols"

    def push(self, frames: npt.NDArray[np.int32]) -> bool:
        """Take each new frame's tokens [n, S], blanks behind them; return whether the text grew."""
        before = len(self._tokens)
        for symbols in frames:
            tokens = symbols[symbols != self._blank].tolist()
            for token in tokens:
                self.add(token)
            self.blank_frames = 0 if tokens else self.blank_frames + 1
        return len(self._tokens) > before
