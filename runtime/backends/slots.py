"""Streams whose steps run together: each one's state lies in a slot, and a row of a batch is the slot that it reads and the one it writes.

A first step reads none, which is zeros, and writes its slot; a step reads and writes it; a peek writes none; a row that only fills the
batch up reads and writes none. So one mechanism begins, steps, peeks and pads, and a stream that is not in a batch stays as it is.
"""

import threading
import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import FullError, InputError
from .base import Backend, Step, StepResult

NO_SLOT = -1
"""In the place of a slot's number."""
MOST_STREAMS = 1 << 16
"""Far more than any GPU's memory holds; so a number that is a mistake is refused before memory is taken for it."""

Rows = npt.NDArray[np.int32]
"""Slots that are read and written [rows, 2]."""


@dataclass(eq=False)
class SlotState:
    """A stream's slot, the caller's for as long as it keeps this object."""

    slot: int
    begun: bool = False
    """Whether a step has written it; until then it holds what another stream left."""
    prompt: int = 0
    """Of its steps, where they take one."""
    given_back: "weakref.finalize[[int], SlotState] | None" = None
    """Gives the slot back, once."""


class SlottedBackend(Backend):
    """A backend of so many slots; a subclass runs the batches.

    A state is used linearly: it is changed in place and returned. Any thread may call any method; what they run waits for its turn.
    """

    can_peek = True
    most_streams: int

    def __init__(self, most_streams: int, largest: int) -> None:
        """`largest`: rows of the largest batch."""
        self.most_streams, self._largest = most_streams, largest
        self._idle = list(range(most_streams))
        self._running = threading.Lock()

    @abstractmethod
    def run_rows(self, steps: Sequence[Step], rows: Rows) -> Mapping[str, npt.NDArray[np.generic]]:
        """Run a batch, under the lock; return the results by name, a row a step and maybe more, valid until the next batch."""

    def new_state(self) -> SlotState:
        """Take a slot. Raises FullError where all are taken."""
        try:
            slot = self._idle.pop()
        except IndexError:
            raise FullError(
                f"expected at most {self.most_streams} streams at once, found {self.most_streams} open; "
                f"close one, or open the recogniser with more"
            ) from None
        state = SlotState(slot)
        state.given_back = weakref.finalize(state, self._idle.append, slot)
        state.given_back.atexit = False
        return state

    def give_back(self, state: SlotState) -> None:
        """See Backend.give_back."""
        if state.given_back:
            state.given_back()

    def restart(self, state: SlotState) -> SlotState:
        """The same state, whose next step reads zeros."""
        state.begun, state.prompt = False, 0
        return state

    def prompted(self, state: SlotState, prompt: int) -> SlotState:
        """See Backend.prompted."""
        state.prompt = prompt
        return state

    def step(self, window: npt.NDArray[np.float32], valid: int, state: SlotState) -> StepResult:
        """See Backend.step; the results are copies."""
        return self._run([Step(window, valid, state)], kept=True)[0]

    def peek(self, window: npt.NDArray[np.float32], valid: int, state: SlotState) -> StepResult:
        """See Backend.peek; the results are copies."""
        return self._run([Step(window, valid, state, peek=True)], kept=True)[0]

    def run(self, steps: Sequence[Step]) -> list[StepResult]:
        """See Backend.run: in one batch, or in several, one after the other, where they are more than the largest holds."""
        return self._run(steps, kept=False)

    def _run(self, steps: Sequence[Step], *, kept: bool) -> list[StepResult]:
        """`kept`: the results outlive the next run."""
        found = []
        with self._running:
            for start in range(0, len(steps), self._largest):
                batch = steps[start : start + self._largest]
                results = self.run_rows(batch, np.array([_row(step) for step in batch], np.int32))
                if kept or start + self._largest < len(steps):
                    results = {name: values[: len(batch)].copy() for name, values in results.items()}
                for place, step in enumerate(batch):
                    step.state.begun |= not step.peek
                    of_row = {name: values[place] for name, values in results.items()}
                    found.append(StepResult(**of_row, state=step.state))
        return found


def check_number(streams: int) -> None:
    """Raise InputError for what cannot be a number of streams at once."""
    if isinstance(streams, bool) or not isinstance(streams, int) or not 1 <= streams <= MOST_STREAMS:
        raise InputError(
            f"expected max_streams as a whole number from 1 to {MOST_STREAMS}, found {streams!r}; None runs each stream apart"
        )


def _row(step: Step) -> tuple[int, int]:
    return step.state.slot if step.state.begun else NO_SLOT, NO_SLOT if step.peek else step.state.slot
