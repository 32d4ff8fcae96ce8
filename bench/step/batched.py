"""The step over many streams on the GPU as the runtime runs it, captured for one number of streams."""

from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from runtime.backends import ALL_VALID, Step
from runtime.backends.batches import Batches
from runtime.backends.engine import LoadedPlan
from runtime.backends.slots import NO_SLOT, SlotState
from runtime.cuda import Device, Graph
from runtime.entries import GraphEntry
from runtime.errors import CudaError

LOUDNESS = 0.05


class BatchedStep:
    """A step of so many streams of noise, each in a slot of its own; a context manager: leaving it frees all but the plan.

    Its caches are full, as those of streams that have gone on for a while.
    """

    def __init__(self, device: Device, plan: LoadedPlan, entry: GraphEntry, streams: int, profile: int) -> None:
        """`entry`: of the bundle, its shapes those of one stream; `profile`: number of the plan's profile. Raises CudaError."""
        shape = entry.of_streams(streams).input("audio").shape
        # The first stream hears the same whatever the number of streams.
        audio = (LOUDNESS * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
        frames = next(spec for spec in entry.outputs if spec.name == "encoded").shape[1]
        with ExitStack() as made:
            batches = Batches(device, plan, entry, {streams: profile}, streams)
            made.callback(batches.close)
            self._batch = batch = batches.of_size[streams]
            steps = [Step(window, ALL_VALID, SlotState(slot)) for slot, window in enumerate(audio)]
            slots = np.arange(streams, dtype=np.int32)
            batches.run(steps, np.stack([np.full_like(slots, NO_SLOT), slots], 1))
            for _ in range(-(-entry.input("kv_cache").shape[1] // frames)):
                batches.run(steps, np.stack([slots, slots], 1))
            self.whole = batch.recorded(batch.enqueue)
            """The step with its copies from and to the host."""
            self.alone = batch.recorded(batch.gather, batch.execute, batch.scatter)
            """Its kernels."""
            self.copies = batch.recorded(batch.gather, batch.scatter)
            """Of them those that copy states from slots and to slots."""
            self._owned = made.pop_all()

    def run(self, graph: Graph) -> None:
        """Run `whole`, `alone` or `copies` to its end."""
        self._batch.launch(graph)

    def first_stream(self) -> npt.NDArray[np.float32]:
        """Run the step once; return the first stream's log-probabilities [T, V+1], without a CTC head its encoded frames [T, D].

        Raises CudaError where a stream's are no numbers.
        """
        self.run(self.whole)
        results = self._batch.results
        name = "log_probs" if "log_probs" in results else "encoded"
        found: npt.NDArray[np.float32] = results[name]
        if not np.isfinite(found).all():
            raise CudaError(f"expected {name} of noise to be finite, found that they are not; build the plan again")
        heard: npt.NDArray[np.float32] = found[0].copy()
        return heard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._owned.close()
