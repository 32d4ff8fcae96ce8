"""Greedy RNN-T decoding: the backend decides the tokens, frame by frame; what is left is to read them off."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.transcript import Transcript


class GreedyRnnt:
    """Collects the tokens of each frame (Graves 2012); the prediction network's state is the backend's. A Decoder."""

    fed = "symbols"

    def __init__(self, vocabulary: Sequence[str], blank: int) -> None:
        self._transcript = Transcript(vocabulary)
        self._blank = blank
        self.blank_frames = 0

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids of the utterance so far."""
        return self._transcript.tokens

    @property
    def text(self) -> str:
        """Text of the utterance so far."""
        return self._transcript.text

    def push(self, frames: npt.NDArray[np.int32]) -> bool:
        """Take each new frame's tokens [n, S], blanks behind them; return whether the text grew."""
        before = len(self.tokens)
        for symbols in frames:
            tokens = symbols[symbols != self._blank].tolist()
            for token in tokens:
                self._transcript.add(token)
            self.blank_frames = 0 if tokens else self.blank_frames + 1
        return len(self.tokens) > before

    def finish(self) -> None:
        """Nothing is open."""
