"""The step in TensorRT with its state on the host, as one writes it first: what the runtime's way is measured against."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends import Backend, StepResult
from runtime.backends.engine import open_engine
from runtime.bundle import Bundle
from runtime.cuda import Bytes, Queue
from runtime.errors import CudaError


class HostStateBackend(Backend):
    """Runs a bundle's plan, one stream at a time: each step copies samples and state in, results and the next state out, and waits.

    A graph holds the engine's kernels, and the four copies too where the host's memory is pinned: a capture takes no pageable copies.
    """

    name = "tensorrt"
    cuda_graph = False
    kernels_per_step: int | None = None
    """See Backend."""

    def __init__(self, folder: Path, bundle: Bundle, precision: str, *, cuda_graph: bool, pinned: bool) -> None:
        """Open the plan of the bundle in `folder`. Raises InputError as TensorRtBackend does; CudaError for a failed capture too."""
        self.cuda_graph = cuda_graph
        with ExitStack() as made:
            device, engine = open_engine(folder, bundle, precision)
            made.callback(engine.close)
            self._queue = queue = made.enter_context(Queue(device))
            self._outputs, (self._reads, self._writes) = engine.outputs, engine.sets
            self._base = queue.allocate(self._writes.end + engine.scratch_bytes)
            host: Callable[[int], Bytes] = queue.pinned if pinned else lambda size: np.zeros(size, np.uint8)
            staging = host(engine.outputs.end)
            self._sent, self._fetched = staging[: engine.inputs.end], staging[engine.outputs.start :]
            self._window, self._valid = engine.view(staging, "audio")[0], engine.view(staging, "valid")
            self._results = engine.results(staging)
            self._state = host(self._reads.end - self._reads.start)
            made.callback(setattr, self, "_context", None)  # before the block that it uses is freed
            self._context: Any = engine.context(self._base, self._reads, self._writes)
            queue.clear(self._base, self._writes.end)
            self._execute()  # a capture may not hold what TensorRT puts off to the first run
            queue.wait()
            self._compute, self._run = self._execute, self._copy_and_compute
            if cuda_graph:
                graph = queue.capture(self._run if pinned else self._compute)
                self.kernels_per_step = graph.kernels
                launch = partial(queue.launch, graph)
                if pinned:
                    self._run = launch
                else:
                    self._compute = launch
            self._owned = made.pop_all()

    def new_state(self) -> Bytes:
        """Zeros, in the backend's one state: an earlier one is no more."""
        self._state[:] = 0
        return self._state

    def step(self, window: npt.NDArray[np.float32], valid: int, state: Bytes) -> StepResult:
        """See Backend.step. The state is changed in place and returned; the results are overwritten by the next step."""
        self._window[:] = window
        self._valid[0] = valid
        self._run()
        self._queue.wait()
        return StepResult(**self._results, state=state)

    def close(self) -> None:
        """Free everything; safe to call twice."""
        self._owned.close()

    def _copy_and_compute(self) -> None:
        # The next state lies where the state was: the copy that brings it comes after the one that took that away.
        self._queue.upload(self._base, self._sent)
        self._queue.upload(self._base + self._reads.start, self._state)
        self._compute()
        self._queue.download(self._fetched, self._base + self._outputs.start)
        self._queue.download(self._state, self._base + self._writes.start)

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._queue.handle):
            raise CudaError("execute_async_v3: TensorRT did not run the step; its reason is logged above")
