"""The step over many streams in onnxruntime: the functional reference of the one in TensorRT."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bundle import Bundle, checked_file
from ..entries import PROMPT, STATE
from ..errors import InputError
from .base import Step
from .onnxruntime import open_graph
from .slots import Rows, SlottedBackend


class BatchedOnnxRuntimeBackend(SlottedBackend):
    """Runs batched.PRECISION.onnx with one execution provider, for CTC; the slots are arrays on the host."""

    def __init__(self, folder: Path, bundle: Bundle, precision: str, name: str, most_streams: int) -> None:
        """Raises InputError for a bundle that is not whole, or without that step in that precision."""
        _, entry = bundle.graph(precision, "batched")
        super().__init__(most_streams, most_streams)
        self.name = name
        self._session = open_graph(checked_file(folder, entry), entry, name)
        self._inputs = {spec.name for spec in entry.inputs}
        self._outputs = [*entry.results, *(f"next_{name}" for name in STATE)]
        try:
            self._slots = {name: entry.of_streams(most_streams).input(name).zeros() for name in STATE}
        except MemoryError as error:
            raise InputError(
                f"expected memory for the states of {most_streams} streams, found too little; ask for fewer"
            ) from error

    def run_rows(self, steps: Sequence[Step], rows: Rows) -> Mapping[str, npt.NDArray[np.generic]]:
        """See SlottedBackend; there are no more rows than steps."""
        reads, writes = rows.T
        feeds = {
            "audio": np.stack([step.window for step in steps]),
            "valid": np.array([step.valid for step in steps], np.int32),
            PROMPT: np.array([step.state.prompt for step in steps], np.int32),
        }
        for name, slots in self._slots.items():
            feeds[name] = slots[reads]
            feeds[name][reads < 0] = 0
        fed = {name: values for name, values in feeds.items() if name in self._inputs}
        made = dict(zip(self._outputs, self._session.run(self._outputs, fed), strict=True))
        for name, slots in self._slots.items():
            slots[writes[writes >= 0]] = made.pop(f"next_{name}")[writes >= 0]
        return made

    def close(self) -> None:
        """The session is freed with the object."""
