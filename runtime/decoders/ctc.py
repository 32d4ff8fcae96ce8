"""Greedy CTC decoding whose state is carried across chunks."""

from collections.abc import Iterable, Sequence

from .transcript import Transcript


class GreedyCtc(Transcript):
    """Collapses repeats and blanks (Graves et al. 2006); a repeat may span two chunks. A Decoder."""

    fed = "tokens"

    def __init__(self, vocabulary: Sequence[str], blank: int) -> None:
        super().__init__(vocabulary)
        self._blank = blank
        self._last = blank
        self.blank_frames = 0

    def push(self, frames: Iterable[int]) -> bool:
        """Take the best token of each new frame; return whether the text grew."""
        grew = False
        for best in frames:
            token = int(best)
            if token not in (self._last, self._blank):
                self.add(token)
                grew = True
            self.blank_frames = self.blank_frames + 1 if token == self._blank else 0
            self._last = token
        return grew

    def finish(self) -> None:
        """Nothing was open: a best token stays what it is."""
