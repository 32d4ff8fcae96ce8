"""The toy step of many streams on the host, whose runs a test can hold up, and an event loop for what hears them."""

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from runtime import FullError
from runtime.backends import Step, StepResult
from runtime.errors import CudaError
from tests.runtime.rig import Host

T = TypeVar("T")

TIMEOUT_S = 30.0
STREAMS = 12


class Gate(Protocol):
    """What a run waits for, as an Event is."""

    def wait(self, timeout: float, /) -> bool:
        """Return whether the run may go on."""


class Rows(Host):
    """The toy step of many streams on the host; what ran together is noted."""

    most_streams = STREAMS
    can_peek = True

    def __init__(self) -> None:
        super().__init__()
        self.open = 0
        self.runs: list[int] = []
        self.fails = False
        self.gate: Gate | None = None
        self.waits = threading.Event()

    def new_state(self) -> Any:  # noqa: ANN401
        if self.open == self.most_streams:
            raise FullError("expected at most 12 streams at once, found 12 open; close one")
        state = Place(super().new_state())
        self.open += 1
        weakref.finalize(state, self._left)
        return state

    def restart(self, state: Any) -> Any:  # noqa: ANN401
        state.arrays = super().new_state()
        return state

    def run(self, steps: Any) -> list[StepResult]:  # noqa: ANN401
        states = {id(step.state) for step in steps}
        assert len(states) == len(steps), "two steps of a stream in one run"
        self.runs.append(len(steps))
        if self.gate:
            self.waits.set()
            assert self.gate.wait(TIMEOUT_S)
        if self.fails:
            raise CudaError("cudaGraphLaunch: it fell over")
        return [self._row(step) for step in steps]

    def _row(self, step: Step) -> StepResult:
        result = self.step(step.window, step.valid, step.state.arrays)
        if not step.peek:
            step.state.arrays = result.state
        return StepResult(**{**vars(result), "state": step.state})

    def _left(self) -> None:
        self.open -= 1


class Place:
    """A stream's state."""

    def __init__(self, arrays: Any) -> None:  # noqa: ANN401
        self.arrays = arrays


def loop(work: Coroutine[Any, Any, T]) -> T:
    """Run it in an event loop of its own thread: in this one the browser of pages' tests may have its loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, asyncio.wait_for(work, TIMEOUT_S)).result()
