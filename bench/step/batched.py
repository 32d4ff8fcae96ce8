"""The step over many streams on the GPU, captured for one number of streams."""

from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from runtime.backends import ALL_VALID
from runtime.backends.engine import Layout, LoadedPlan, bind
from runtime.cuda import Device, Graph, Queue
from runtime.entries import GraphEntry
from runtime.errors import CudaError

LOUDNESS = 0.05


class BatchedStep:
    """A step of so many streams of noise, at fixed addresses; a context manager: leaving it frees all but the plan.

    Its caches are full, as those of streams that have gone on for a while. It reads the same state each time and writes the next one
    beside it: what a runtime does with that is not in its time.
    """

    def __init__(self, device: Device, plan: LoadedPlan, entry: GraphEntry, streams: int, profile: int) -> None:
        """`entry`: of the bundle, its shapes those of one stream; `profile`: number of the plan's profile. Raises CudaError."""
        of_all = entry.of_streams(streams)
        self._layout = layout = Layout(of_all)
        self._reads, self._writes = layout.sets
        with ExitStack() as made:
            self._queue = queue = made.enter_context(Queue(device))
            self._base = queue.allocate(self._writes.end + plan.scratch_bytes)
            self._staging = queue.pinned(layout.outputs.end)
            # The first stream hears the same whatever the number of streams.
            audio = layout.view(self._staging, "audio")
            audio[:] = LOUDNESS * np.random.default_rng(0).standard_normal(audio.shape)
            layout.view(self._staging, "valid")[:] = ALL_VALID
            made.callback(setattr, self, "_context", None)  # before the block that it uses is freed
            self._context: Any = plan.new_context(self._base + self._writes.end)
            if not self._context.set_optimization_profile_async(profile, queue.handle):
                raise CudaError(
                    f"set_optimization_profile_async: TensorRT refused {profile}; its reason is logged above"
                )
            queue.wait()
            for spec in of_all.inputs:
                if not self._context.set_input_shape(spec.name, tuple(spec.shape)):
                    raise CudaError(
                        f"set_input_shape: TensorRT refused {spec.name} {spec.shape}; its reason is logged above"
                    )
            bind(self._context, layout.addresses(self._base, self._reads, self._writes))
            queue.clear(self._base, self._writes.end)
            for _ in range(-(-entry.input("kv_cache").shape[1] // layout.view(self._staging, "encoded").shape[1])):
                self._step()
                queue.copy(
                    self._base + self._reads.start,
                    self._base + self._writes.start,
                    self._writes.end - self._writes.start,
                )
            queue.wait()
            self.whole = queue.capture(self._step)
            """The step with its copies from and to the host."""
            self.alone = queue.capture(self._execute)
            """Its kernels."""
            self._owned = made.pop_all()

    def run(self, graph: Graph) -> None:
        """Run `whole` or `alone` to its end."""
        self._queue.launch(graph)
        self._queue.wait()

    def first_stream(self) -> npt.NDArray[np.float32]:
        """Run the step once; return the first stream's log-probabilities [T, V+1], without a CTC head its encoded frames [T, D].

        Raises CudaError where a stream's are no numbers.
        """
        self.run(self.whole)
        name = "log_probs" if "log_probs" in self._layout.outputs.offsets else "encoded"
        found: npt.NDArray[np.float32] = self._layout.view(self._staging, name)
        if not np.isfinite(found).all():
            raise CudaError(f"expected {name} of noise to be finite, found that they are not; build the plan again")
        heard: npt.NDArray[np.float32] = found[0].copy()
        return heard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._owned.close()

    def _step(self) -> None:
        layout = self._layout
        self._queue.upload(self._base, self._staging[: layout.inputs.end])
        self._execute()
        self._queue.download(self._staging[layout.outputs.start :], self._base + layout.outputs.start)

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._queue.handle):
            raise CudaError("execute_async_v3: TensorRT did not run the step; its reason is logged above")
