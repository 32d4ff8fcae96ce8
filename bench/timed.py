"""A backend that notes how long each step takes."""

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends import Backend, StepResult


class TimedBackend:
    """A backend, and the seconds of each of its steps in `step_s`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name = backend.name
        self.step_s: list[float] = []
        self.total_s = 0.0  # of all steps ever

    @property
    def cuda_graph(self) -> bool | None:
        """Whether a step is one graph launch; None where the backend has no such thing."""
        return getattr(self._backend, "cuda_graph", None)

    def new_state(self) -> Any:  # noqa: ANN401 -- opaque, the backend's own
        """See Backend.new_state."""
        return self._backend.new_state()

    def step(self, window: npt.NDArray[np.float32], valid: int, state: Any) -> StepResult:  # noqa: ANN401
        """See Backend.step."""
        begin = time.perf_counter()
        result = self._backend.step(window, valid, state)
        seconds = time.perf_counter() - begin
        self.step_s.append(seconds)
        self.total_s += seconds
        return result

    def close(self) -> None:
        """See Backend.close."""
        self._backend.close()
