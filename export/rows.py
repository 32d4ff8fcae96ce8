"""How far the rows of the step over many streams are from the step of one."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends import ALL_VALID
from runtime.backends.onnxruntime import open_session
from runtime.bundle import Bundle, Precision, checked_file
from runtime.entries import PROMPT, STATE

ROWS, CHUNKS = 3, 12
LOUDNESS = 0.1

Arrays = dict[str, npt.NDArray[Any]]


class Runs:
    """A step in onnxruntime, of one stream or of many, its state in a dictionary of arrays whose first axis is the streams'."""

    def __init__(self, folder: Path, bundle: Bundle, precision: Precision, *, many: bool) -> None:
        """Raises InputError for a bundle that is not whole, or lacks the graph."""
        _, entry = bundle.graph(precision, "batched" if many else "step")
        self._step = bundle.step(precision)
        self._session = open_session(str(checked_file(folder, entry)), "onnxruntime-cpu")

    def new_state(self, rows: int = 1) -> Arrays:
        """Zeros for that many streams, the prompt, where the step takes one, among them."""
        return {name: self._step.input(name).of_streams(rows).zeros() for name in self._step.kept}

    def step(
        self, windows: npt.NDArray[np.float32], valid: npt.NDArray[np.int32], state: Arrays
    ) -> tuple[Arrays, Arrays]:
        """Return the results and the next state of `windows` [streams, samples] with `valid` [streams]."""
        names = [*self._step.results, *(f"next_{name}" for name in STATE)]
        made = dict(zip(names, self._session.run(names, {"audio": windows, "valid": valid, **state}), strict=True))
        following = state | {name: made[f"next_{name}"] for name in STATE}
        return {name: made[name] for name in self._step.results}, following


def rows_from_step(folder: Path, bundle: Bundle, precision: Precision) -> float:
    """Largest difference of encoded frames between streams of noise in the rows of one run, and each of them alone.

    Of the streams one goes on, one begins again in between, and one's audio ends. Each has a prompt of its own, where there are prompts.
    """
    many, one = (Runs(folder, bundle, precision, many=many) for many in (True, False))
    generator = np.random.default_rng(0)
    together, alone = many.new_state(ROWS), [one.new_state() for _ in range(ROWS)]
    worst = 0.0
    for row, prompt in enumerate(sorted(set((bundle.prompts or {}).values()))[:ROWS]):
        together[PROMPT][row] = prompt
        alone[row][PROMPT] = np.array([prompt], np.int32)
    for chunk in range(CHUNKS):
        if chunk == CHUNKS // 2:
            alone[1] = one.new_state()
            for name, zeros in alone[1].items():
                together[name][1:2] = zeros
        windows = (LOUDNESS * generator.standard_normal((ROWS, bundle.window_samples))).astype(np.float32)
        valid = np.array([ALL_VALID, ALL_VALID, 5 if chunk == CHUNKS - 1 else ALL_VALID], np.int32)
        results, together = many.step(windows, valid, together)
        for row in range(ROWS):
            expected, alone[row] = one.step(windows[row : row + 1], valid[row : row + 1], alone[row])
            # Where a figure is no number, so is this one: the built-in max would keep what it had.
            worst = np.maximum(worst, np.abs(results["encoded"][row] - expected["encoded"][0]).max())
    return float(worst)
