"""When audio came, by its place in the stream."""

from collections import deque


class Arrivals:
    """Times at which pieces of a stream's audio came, of as many as may still be asked for."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, float]] = deque()  # samples up to a piece's end, and when it came

    def add(self, end: int, at_s: float) -> None:
        """Samples up to number `end` of the stream came by then."""
        self._pieces.append((end, at_s))

    def clear(self) -> None:
        """Forget all."""
        self._pieces.clear()

    def at_s(self, position: int) -> float:
        """When the sample before this position came. Positions do not go back: what came before is forgotten."""
        pieces = self._pieces
        while len(pieces) > 1 and pieces[0][0] < position:
            pieces.popleft()
        return pieces[0][1]
