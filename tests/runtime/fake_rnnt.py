"""A tiny RNN-T evaluation for the fake TensorRT, and the same decoding written as the loop that it must equal."""

import numpy as np

from runtime.entries import MAX_SYMBOLS, RNNT_STATE

Arrays = dict[str, np.ndarray]

FRAMES, WIDTH, HIDDEN, BLANK = 2, 3, 4, 3
SHAPES: dict[str, tuple[str, list[int]]] = {
    "encoded": ("float32", [1, FRAMES, WIDTH]),
    "last": ("int32", [1]),
    "hidden": ("float32", [1, HIDDEN]),
    "cell": ("float32", [1, HIDDEN]),
    "frame": ("int32", [1]),
    "emitted": ("int32", [1]),
    "symbols": ("int32", [1, FRAMES, MAX_SYMBOLS]),
    "scores": ("float32", [1, FRAMES, MAX_SYMBOLS]),
}
SHAPES |= {f"next_{name}": SHAPES[name] for name in RNNT_STATE}
INPUTS = ("encoded", *RNNT_STATE)


def predicted(last: int, hidden: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The next hidden and cell; `last` is the last token + 1, 0 before any."""
    moved = (0.5 * cell + 0.3 * last + 0.1 * np.arange(HIDDEN)).astype(np.float32)
    return np.tanh(hidden + moved, dtype=np.float32), moved


def best(heard: np.ndarray, hidden: np.ndarray, eager: bool) -> tuple[int, np.float32]:
    """A token or the blank of a frame [WIDTH], and its score, never 0.

    An eager joint gives tokens alone where the frame's first number is positive.
    """
    both = abs(float(heard.sum(dtype=np.float64)) + float(hidden.sum(dtype=np.float64)))
    drawn, score = int(1e4 * both), np.float32(-0.01 - both)
    if eager and heard[0] > 0:
        return drawn % BLANK, score
    return min(drawn % 5, BLANK), score


def toy_evaluation(of: Arrays, eager: bool = False) -> Arrays:
    """One evaluation, as export/rnnt.py describes it."""
    last, frame, emitted = (int(of[name][0]) for name in ("last", "frame", "emitted"))
    state = {name: of[name].copy() for name in RNNT_STATE}
    if frame < FRAMES:
        hidden, cell = predicted(last, of["hidden"], of["cell"])
        token, score = best(of["encoded"][0, frame], hidden, eager)
        if token != BLANK:
            state["symbols"][0, frame, emitted] = token + 1
            state["scores"][0, frame, emitted] = score
            state |= {"last": np.array([token + 1], np.int32), "hidden": hidden, "cell": cell}
            emitted += 1
        if token == BLANK or emitted == MAX_SYMBOLS:
            frame, emitted = frame + 1, 0
        state |= {"frame": np.array([frame], np.int32), "emitted": np.array([emitted], np.int32)}
    return {f"next_{name}": values for name, values in state.items()}


class Greedy:
    """Greedy decoding of an utterance, chunk by chunk, as a loop over frames and symbols on the host."""

    def __init__(self, eager: bool = False) -> None:
        self._eager, self._last = eager, 0
        self._hidden = self._cell = np.zeros((1, HIDDEN), np.float32)

    def chunk(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Symbols [T, S] of the frames [T, WIDTH], blanks after them, their scores, and how many evaluations they take."""
        scores = np.zeros((len(encoded), MAX_SYMBOLS), np.float32)
        symbols = np.full((len(encoded), MAX_SYMBOLS), BLANK, np.int32)
        evaluations = 0
        for frame, heard in enumerate(encoded):
            for place in range(MAX_SYMBOLS):
                evaluations += 1
                hidden, cell = predicted(self._last, self._hidden, self._cell)
                token, score = best(heard, hidden, self._eager)
                if token == BLANK:
                    break
                symbols[frame, place], scores[frame, place] = token, score
                self._last, self._hidden, self._cell = token + 1, hidden, cell
        return symbols, scores, evaluations
