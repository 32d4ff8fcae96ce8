"""A step of onnxruntime that is computed once: what a test streams again, and another test streamed before, takes no CPU time."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from runtime.backends import StepResult, Wrapped, open_backend
from runtime.backends.onnxruntime import State
from runtime.bundle import read_bundle


class KnownState(State):
    """A state, and the hash of all that was streamed since it was new."""

    def __init__(self, state: State, streamed: bytes) -> None:
        super().__init__(state)
        self.streamed = streamed


class Remembering(Wrapped):
    """Keeps the result of each step by all bytes that it follows from: the windows since the state was new, and their lengths.

    Of all steps, or of the last one alone, for streams that hear the same at the same time.
    """

    def __init__(self, folder: Path, precision: str, *, last_alone: bool = False) -> None:
        super().__init__(open_backend(folder, read_bundle(folder), "onnxruntime-cpu", precision))
        self._results: dict[bytes, StepResult] = {}
        self._last_alone = last_alone

    def new_state(self) -> KnownState:
        """See Backend."""
        return KnownState(super().new_state(), b"")

    def restart(self, state: Any) -> KnownState:  # noqa: ANN401, ARG002
        """See Backend."""
        return self.new_state()

    def step(self, window: np.ndarray, valid: int, state: Any) -> StepResult:  # noqa: ANN401
        """See Backend."""
        key = sha256(state.streamed + f"{valid} ".encode() + window.tobytes()).digest()
        if key not in self._results:
            result = super().step(window, valid, state)
            if self._last_alone:
                self._results.clear()
            self._results[key] = replace(result, state=KnownState(result.state, key))
        return self._results[key]

    def peek(self, window: np.ndarray, valid: int, state: Any) -> StepResult:  # noqa: ANN401
        """See Backend. Its result is kept without a state, of which there are many."""
        key = sha256(state.streamed + f"peek {valid} ".encode() + window.tobytes()).digest()
        if key not in self._results:
            self._results[key] = replace(super().peek(window, valid, state), state=None)
        return replace(self._results[key], state=state)
