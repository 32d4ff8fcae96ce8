"""The step over many streams in TensorRT: one copy in, one graph launch, one copy out for all; no state leaves the GPU."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bundle import Bundle
from ..errors import ClosedError
from ..processes import freed_with
from .base import Launches, Step
from .batches import Batches
from .engine import CLOSED, LoadedPlan, check_plan
from .sizes import captured_sizes, profile_for, sizes_of
from .slots import Rows, SlotState, SlottedBackend


class BatchedTensorRtBackend(SlottedBackend):
    """Runs a bundle's plan of the step over many streams, for CTC.

    Memory for all streams is taken when it is opened. The results of `run` are views of pinned memory: not to be read after the next
    run, step or peek, nor after `close`.
    """

    name = "tensorrt"

    def __init__(
        self, folder: Path, bundle: Bundle, precision: str, most_streams: int, cuda_graph: bool = True
    ) -> None:
        """Open the plan of the bundle in `folder` for so many streams.

        Without `cuda_graph`, or with CUDA_GRAPH=0, kernels are launched one by one.

        Raises InputError for a bundle without that step and for a plan that is missing, broken or of another bundle, precision, TensorRT
        or GPU, before loading it; CudaError where the GPU has no room.
        """
        checked = check_plan(folder, bundle, precision, "batched")
        built = sizes_of(str(checked.stamp.options.get("sizes")))
        sizes = captured_sizes(built, most_streams)
        super().__init__(most_streams, sizes[-1])
        self.launches = Launches(cuda_graph and os.environ.get("CUDA_GRAPH") != "0")
        owned = ExitStack()
        self._free = freed_with(self, owned)
        with ExitStack() as opening:
            opening.callback(self.close)
            plan = LoadedPlan(checked)
            owned.callback(plan.close)
            profiles = {size: profile_for(built, size) for size in sizes}
            self._batches = batches = Batches(checked.device, plan, checked.entry, profiles, most_streams)
            running = self._running

            def close() -> None:
                with running:  # memory is not freed under a run
                    batches.close()

            owned.callback(close)
            self.launches.capture(batches.capture)
            opening.pop_all()

    def new_state(self) -> SlotState:
        """Take a slot. Raises FullError where all are taken."""
        if not self._free.alive:
            raise ClosedError(CLOSED)
        return super().new_state()

    def run_rows(self, steps: Sequence[Step], rows: Rows) -> Mapping[str, npt.NDArray[np.generic]]:
        """See SlottedBackend. Raises CudaError; ClosedError where the backend is closed."""
        return self._batches.run(steps, rows)

    def close(self) -> None:
        """Free everything once a run has ended; safe to call twice."""
        self._free()
