"""The step in TensorRT: one copy in, one graph launch, one copy out, one wait; the state never leaves the GPU."""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle import Bundle, Decoding
from ..cuda import Device, Graph, Queue
from ..errors import ClosedError, CudaError
from ..processes import freed_with
from .base import Backend, Emitted, Launches, StepResult
from .engine import CLOSED, Engine, open_engine
from .evaluations import Evaluations


class TensorRtBackend(Backend):
    """Runs a bundle's plan.

    Each stream in use has a lane: its own CUDA stream, buffers, execution contexts and captured graphs, over one shared engine. Lanes
    are made once and pooled: a state that is dropped gives its lane back, and `new_state` takes one and zeroes it, so that an
    utterance costs one memset and neither allocation nor capture. Streams may run in several threads, one thread per state.
    """

    name = "tensorrt"
    can_peek = True

    def __init__(
        self, folder: Path, bundle: Bundle, precision: str, cuda_graph: bool = True, decoder: Decoding = "ctc"
    ) -> None:
        """Open the plan of the bundle in `folder`, for RNN-T that of its evaluation too.

        Without `cuda_graph`, or with CUDA_GRAPH=0, kernels are launched one by one.

        Raises InputError for a plan that is missing, broken or of another bundle, precision, TensorRT or GPU, before loading it;
        CudaError where the GPU has no room.
        """
        self.device, self._engine = open_engine(folder, bundle, precision)
        self._evaluation = open_engine(folder, bundle, precision, "rnnt")[1] if decoder == "rnnt" else None
        self._blank = bundle.blank
        self.launches = Launches(cuda_graph and os.environ.get("CUDA_GRAPH") != "0", further_turns=0)
        self._counting = threading.Lock()
        self._opening = threading.Lock()  # the engine is not closed under a lane that is being made
        self._idle: list[Lane] = []
        self._owned = owned = ExitStack()
        self._free = freed_with(self, owned)
        owned.callback(self._engine.close)
        if self._evaluation:
            owned.callback(self._evaluation.close)
        with ExitStack() as opening:
            opening.callback(self.close)
            self._idle.append(self._new_lane())  # now, so that the first stream finds it ready
            opening.pop_all()

    def new_state(self) -> "TensorRtState":
        """Zeros, in a lane of the pool or, where all are in use, in a new one. Raises CudaError where the GPU has no room for it."""
        try:
            lane = self._idle.pop()  # not `if`: another thread may take the last one in between
        except IndexError:
            with self._opening:
                if not self._free.alive:
                    raise ClosedError(CLOSED) from None
                lane = self._new_lane()
        state = TensorRtState(lane)
        weakref.finalize(state, self._idle.append, lane).atexit = False
        lane.reset()
        return state

    def restart(self, state: "TensorRtState") -> "TensorRtState":
        """The same state, its lane zeroed. Raises as `new_state` does."""
        state.lane.reset()
        return state

    def prompted(self, state: "TensorRtState", prompt: int) -> "TensorRtState":
        """See Backend.prompted. Raises ClosedError."""
        state.lane.tell(prompt)
        return state

    def step(self, window: npt.NDArray[np.float32], valid: int, state: "TensorRtState") -> StepResult:
        """See Backend.step. The state is used linearly: it is changed in place and returned, so an earlier one cannot be stepped again.

        The results are views of pinned memory: not to be read after the next step or peek of that state, nor after `close`.
        """
        turns = state.lane.run(window, valid)
        if turns:
            with self._counting:  # never around the run: no stream waits for another's step
                self.launches.further_turns = (self.launches.further_turns or 0) + turns
        return self._result(state)

    def peek(self, window: npt.NDArray[np.float32], valid: int, state: "TensorRtState") -> StepResult:
        """See Backend.peek. The results are in the memory of a step's; turns that it takes are no step's and not counted."""
        state.lane.run(window, valid, peeking=True)
        return self._result(state)

    def close(self) -> None:
        """Free every lane, those in use too once their step is done, and the engine; safe to call twice."""
        with self._opening:
            self._free()

    def _result(self, state: "TensorRtState") -> StepResult:
        return StepResult(**state.lane.results, **state.lane.emitted(self._blank), state=state)

    def _new_lane(self) -> "Lane":
        lane = Lane(self.device, self._engine, self._evaluation)
        self._owned.callback(lane.close)
        self.launches.capture(lane.capture)
        return lane


@dataclass(eq=False)
class TensorRtState:
    """A stream's place in its lane, the caller's for as long as it keeps this object."""

    lane: "Lane"


class Lane:
    """What one stream's steps use, at fixed addresses: memory, and a context and a graph for either direction between the state sets.

    TensorRT asks for a context of its own for each live graph.
    """

    def __init__(self, device: Device, engine: Engine, evaluation: Engine | None = None) -> None:
        """`evaluation`: where the lane decodes RNN-T too. Raises CudaError."""
        self._steps: list[Graph] = []
        """From the first set to the second, and back; empty without graphs."""
        self._more: Graph | None = None
        """Two more evaluations of RNN-T; None without graphs, and where the lane decodes none."""
        first, second = engine.sets
        with ExitStack() as made:
            self._queue = made.enter_context(Queue(device))
            self._base = self._queue.allocate(second.end + engine.scratch_bytes)
            self._first, self._outputs = first, engine.outputs
            # Laid out as the device's block begins: inputs, outputs. All outputs come back in one copy: `log_probs` and
            # `encoded` are some ten kilobytes, less than a microsecond, where a copy of their own would cost several.
            staging = self._queue.pinned(engine.outputs.end)
            self._sent, self._fetched = staging[: engine.inputs.end], staging[engine.outputs.start :]
            self._window, self._valid = engine.view(staging, "audio")[0], engine.view(staging, "valid")
            self._prompts = engine.prompts(staging)
            self.results = engine.results(staging)
            self._contexts: list[Any] = []
            made.callback(self._contexts.clear)  # before the block that they use is freed
            self._contexts += engine.contexts(self._base)
            self._evaluations: Evaluations | None = None
            if evaluation is not None:
                encoded = engine.outputs.addresses(self._base)["encoded"]
                self._evaluations = Evaluations(self._queue, evaluation, encoded)
                made.callback(self._evaluations.close)
                self._evaluations.clear()
            # Both run once, on silence: TensorRT and CUDA finish here what they put off to the first run, which a capture
            # may not hold and a stream's first step should not wait for.
            self._queue.clear(self._base, second.end)
            for direction in (0, 1):
                self._enqueue(direction)
            self._queue.wait()
            self._owned = made.pop_all()
        self._open = True
        self._running = threading.Lock()  # memory is not freed under a step
        self._direction = 0
        """0: the next step reads the first set."""

    def capture(self) -> int:
        """Record both directions, copies included; return the kernels of a step. After a CudaError the lane runs without graphs."""
        steps = [self._queue.capture(partial(self._enqueue, direction)) for direction in (0, 1)]
        self._more = self._queue.capture(self._evaluations.enqueue_more) if self._evaluations else None
        self._steps = steps
        return steps[0].kernels

    def recorded(self) -> AbstractContextManager[Any]:
        """A step as `capture` records it, as a cudaGraph_t, which lives until the block is left."""
        return self._queue.recorded(partial(self._enqueue, 0))

    def reset(self) -> None:
        """Zero the set that is read next; the step writes the other one whole before that is read. Raises ClosedError."""
        with self._used():
            self._prompts[0] = 0
            self._direction = 0
            self._queue.clear(self._base + self._first.start, self._first.end - self._first.start)
            if self._evaluations:
                self._evaluations.clear()

    def tell(self, prompt: int) -> None:
        """Let the next steps take this prompt. Raises ClosedError."""
        with self._used():
            self._prompts[0] = prompt

    def run(self, window: npt.NDArray[np.float32], valid: int, *, peeking: bool = False) -> int:
        """One step, its outputs in `results` and `emitted`; return how often evaluations were added to it.

        `peeking`: the next one begins where this one began.
        """
        with self._used():
            self._window[:] = window
            self._valid[0] = valid
            if peeking and self._evaluations:
                self._evaluations.keep()
            if self._steps:
                self._queue.launch(self._steps[self._direction])
            else:
                self._enqueue(self._direction)
            self._queue.wait()
            turns = self._finish(self._evaluations) if self._evaluations else 0
            if not peeking:
                self._direction ^= 1
            elif self._evaluations:
                self._evaluations.put_back()
            return turns

    def _finish(self, evaluations: Evaluations) -> int:
        for turns in range(evaluations.most_turns + 1):
            if evaluations.done:
                return turns
            if self._more:
                self._queue.launch(self._more)
            else:
                evaluations.enqueue_more()
            self._queue.wait()
        raise CudaError(
            "the RNN-T evaluation did not end within the most symbols that a chunk may have; build its plan again"
        )

    def emitted(self, blank: int) -> Emitted | dict[str, Any]:
        """Return what the last step emitted, as Evaluations does; nothing without RNN-T."""
        return self._evaluations.emitted(blank) if self._evaluations else {}

    def close(self) -> None:
        """Free everything; safe to call twice."""
        with self._running:
            self._open = False
            self._owned.close()

    @contextmanager
    def _used(self) -> Iterator[None]:
        with self._running:
            if not self._open:
                raise ClosedError(CLOSED)
            yield

    def _enqueue(self, direction: int) -> None:
        self._queue.upload(self._base, self._sent)
        if not self._contexts[direction].execute_async_v3(self._queue.handle):
            raise CudaError("execute_async_v3: TensorRT did not run the step; its reason is logged above")
        if self._evaluations:
            self._evaluations.enqueue()
        self._queue.download(self._fetched, self._base + self._outputs.start)
