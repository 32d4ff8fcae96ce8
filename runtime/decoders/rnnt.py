"""Greedy RNN-T decoding: the backend decides the tokens, frame by frame; what is left is to read them off."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .transcript import Transcript


class GreedyRnnt(Transcript):
    """Collects the tokens of each frame (Graves 2012); the prediction network's state is the backend's. A Decoder."""

    fed = "symbols"

    def __init__(self, vocabulary: Sequence[str], blank: int) -> None:
        super().__init__(vocabulary)
        self._blank = blank
        self.blank_frames = 0

    def push(self, frames: npt.NDArray[np.int32]) -> bool:
        """Take each new frame's tokens [n, S], blanks behind them; return whether the text grew."""
        grew = False
        for symbols in frames:
            tokens = symbols[symbols != self._blank].tolist()
            for token in tokens:
                self.add(token)
            self.blank_frames = 0 if tokens else self.blank_frames + 1
            grew = grew or bool(tokens)
        return grew

    def finish(self) -> None:
        """Nothing is open."""
