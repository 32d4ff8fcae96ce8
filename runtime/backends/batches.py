"""What streams that run together have on the GPU: their slots, and one batch at a time, recorded for several numbers of rows."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cuda import Bytes, Device, Graph, Queue
from ..entries import STATE, GraphEntry
from ..errors import ClosedError, CudaError
from .base import Step
from .engine import ALIGNMENT, CLOSED, Layout, LoadedPlan, Region, bind
from .rows import RowCopies
from .slots import NO_SLOT, Rows

ROW = 2 * np.dtype(np.int32).itemsize
"""Bytes of a row's two slots."""


@dataclass(frozen=True)
class Block:
    """Memory that batches of all sizes share: on the device the rows' slots, the batch and the plan's scratch."""

    queue: Queue
    copies: RowCopies
    rows: int
    """Address of the rows' slots."""
    base: int
    """Address of the batch."""
    scratch: int
    """Address."""
    staging: Bytes
    """Pinned; as the device has it from `rows` on, to the end of the outputs."""


class Batch:
    """A batch of one number of rows: copy in, slots to batch, step, batch to slots, copy out."""

    def __init__(self, block: Block, entry: GraphEntry) -> None:
        """`entry`: of so many streams."""
        self.size = entry.inputs[0].shape[0]
        self._block, self._entry, self._layout = block, entry, Layout(entry)
        self._context: Any = None
        self.graph: Graph | None = None
        """All of it; None where it is launched part by part."""
        start = block.base - block.rows
        staged = block.staging[start:]
        self._sent = block.staging[: start + self._layout.inputs.end]
        self._fetched = staged[self._layout.outputs.start : self._layout.outputs.end]
        self._rows = block.staging[: self.size * ROW].view(np.int32).reshape(-1, 2)
        self._audio, self._valid = self._layout.view(staged, "audio"), self._layout.view(staged, "valid")
        self._prompts = self._layout.prompts(staged)
        self.results = {name: self._layout.view(staged, name) for name in self._layout.outputs.offsets}
        """Of the last run, in pinned memory, by name [size, ...]."""

    def open(self, plan: LoadedPlan, profile: int) -> None:
        """Make its context, on the plan's profile of that number, and run it with no stream. Raises CudaError, as every method does."""
        queue = self._block.queue
        self._context = plan.new_context(self._block.scratch)
        if not self._context.set_optimization_profile_async(profile, queue.handle):
            raise CudaError(f"set_optimization_profile_async: TensorRT refused {profile}; its reason is logged above")
        queue.wait()
        for spec in self._entry.inputs:
            if not self._context.set_input_shape(spec.name, tuple(spec.shape)):
                raise CudaError(
                    f"set_input_shape: TensorRT refused {spec.name} {spec.shape}; its reason is logged above"
                )
        bind(self._context, self._layout.addresses(self._block.base, *self._layout.sets))
        self._rows[:] = NO_SLOT
        self.run()  # TensorRT and CUDA finish here what a capture may not hold and a first step should not wait for

    def close(self) -> None:
        """Free the context."""
        self._context = None

    def fill(self, steps: Sequence[Step], rows: Rows) -> None:
        """Put steps into the first rows; the others have no slots, and of whatever audio is there no valid frame."""
        self._rows[: len(steps)] = rows
        self._rows[len(steps) :], self._valid[len(steps) :] = NO_SLOT, 0
        for place, step in enumerate(steps):
            self._audio[place], self._valid[place] = step.window, step.valid
            self._prompts[place] = step.state.prompt

    def run(self) -> None:
        """Run it to its end."""
        if self.graph:
            self.launch(self.graph)
        else:
            self.enqueue()
            self._wait()

    def recorded(self, *parts: Callable[[], None]) -> Graph:
        """Record parts of it, or all, for `launch`."""

        def work() -> None:
            for part in parts:
                part()

        return self._block.queue.capture(work)

    def launch(self, graph: Graph) -> None:
        """Run a graph to its end."""
        self._block.queue.launch(graph)
        self._wait()

    def gather(self) -> None:
        """Enqueue the copies from the slots that are read."""
        self._block.copies.gather(self._layout, self._block.base)

    def execute(self) -> None:
        """Enqueue the plan's kernels."""
        if not self._context.execute_async_v3(self._block.queue.handle):
            raise CudaError("execute_async_v3: TensorRT did not run the step; its reason is logged above")

    def scatter(self) -> None:
        """Enqueue the copies to the slots that are written."""
        self._block.copies.scatter(self._layout, self._block.base)

    def enqueue(self) -> None:
        """Enqueue all of it."""
        self._block.queue.upload(self._block.rows, self._sent)
        self.gather()
        self.execute()
        self.scatter()
        self._block.queue.download(self._fetched, self._block.base + self._layout.outputs.start)

    def _wait(self) -> None:
        # One stream's step is the sooner for a core that spins. Many streams' steps take turns on the GPU, with those of other
        # processes too, and that core is the others': 2.5 cores instead of 4.4 for 1,024 streams of the 114 M model in 4 processes.
        self._block.queue.wait(asleep=self.size > 1)


class Batches:
    """Batches of several sizes over the same slots; one thread at a time may use them."""

    def __init__(
        self, device: Device, plan: LoadedPlan, entry: GraphEntry, profiles: Mapping[int, int], slots: int
    ) -> None:
        """`entry`: of the bundle, its shapes those of one stream; `profiles`: sizes, rising, and the plan's profile of each.

        Raises CudaError.
        """
        slot = Region(0, [entry.input(name) for name in STATE])
        most = Layout(entry.of_streams(max(profiles)))
        start = -(-max(profiles) * ROW // ALIGNMENT) * ALIGNMENT
        with ExitStack() as made:
            queue = made.enter_context(Queue(device))
            in_slots = queue.allocate(slots * slot.end)
            rows = queue.allocate(start + most.sets[1].end + plan.scratch_bytes)
            staging = queue.pinned(start + most.outputs.end)
            base = rows + start
            block = Block(queue, RowCopies(queue, slot, in_slots, rows), rows, base, base + most.sets[1].end, staging)
            self.of_size = {size: Batch(block, entry.of_streams(size)) for size in profiles}
            for batch in self.of_size.values():
                made.callback(batch.close)  # before the block that it uses is freed
            for size, profile in profiles.items():
                self.of_size[size].open(plan, profile)
            self._owned = made.pop_all()
        self._open = True

    def capture(self) -> int:
        """Record each size; return the kernels of the largest. After a CudaError all run without graphs."""
        graphs = [batch.recorded(batch.enqueue) for batch in self.of_size.values()]
        for batch, graph in zip(self.of_size.values(), graphs, strict=True):
            batch.graph = graph
        return graphs[-1].kernels

    def run(self, steps: Sequence[Step], rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """Run steps in the smallest batch that holds them; return its results, views of pinned memory. Raises CudaError, ClosedError."""
        if not self._open:
            raise ClosedError(CLOSED)
        batch = next(batch for size, batch in self.of_size.items() if size >= len(steps))
        batch.fill(steps, rows)
        batch.run()
        return batch.results

    def close(self) -> None:
        """Free everything; safe to call twice."""
        self._open = False
        self._owned.close()
