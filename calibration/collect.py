"""Histograms of what the quantised matrix products read, from the states that a stream really has."""

from collections.abc import Iterable
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import onnx

from calibration.exposed import ExposedStep, Floats, Samples
from calibration.histogram import Histogram
from export.placement import quantised_products
from runtime.backends import StepResult, default_backend
from runtime.backends.onnxruntime import PROVIDERS, State
from runtime.bundle import Bundle, step_file
from runtime.recognizer import Recognizer

BUFFERED_STEPS = 32
"""One call of numpy per tensor for so many steps; 31 MB for 114 M parameters at 80 ms."""
PAUSES_S = (0.3, 0.6, 1.0, 6.0)
"""Seconds of digital silence before a clip; the last one fills the whole left context of 5.6 s."""


class ObservedBackend(ExposedStep):
    """A Backend: the widest step of a bundle in onnxruntime, which also counts what each quantised matrix product reads."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        """Raises InputError for a bundle that is not whole or lacks a matrix product to be quantised."""
        path, _ = step_file(folder, bundle, bundle.widest)
        model = onnx.load(path)
        self.products = quantised_products(model)
        """Matrix product -> the tensor that it reads."""
        self.histograms = {tensor: Histogram(tensor) for tensor in self.products.values()}
        """By tensor; complete after `flush`."""
        self.steps = 0
        self._waiting: dict[str, list[Floats]] = {tensor: [] for tensor in self.histograms}
        super().__init__(model, bundle, [*self.histograms], _provider_name(), threads=0)

    def step(self, window: Samples, valid: int, state: State) -> StepResult:
        """See Backend.step."""
        result, read = self.run(window, valid, state)
        for tensor, values in read.items():
            self._waiting[tensor].append(values)
        self.steps += 1
        if self.steps % BUFFERED_STEPS == 0:
            self.flush()
        return result

    def flush(self) -> None:
        """Count what is buffered. Raises InputError where it is not finite."""
        for tensor, parts in self._waiting.items():
            if parts:
                self.histograms[tensor].add(np.concatenate([part.ravel() for part in parts], dtype=np.float32))
                parts.clear()


def stream_speech(recognizer: Recognizer, clips: Iterable[Samples], alone: int) -> None:
    """Stream the first `alone` clips one by one, each from an utterance's start to its flush, and the rest as one stream with pauses."""
    rate = recognizer.bundle.sample_rate
    stream, waiting = recognizer.stream(), iter(clips)
    for clip in islice(waiting, alone):
        stream.push(clip)
        stream.end_utterance()
    for clip, pause_s in zip(waiting, cycle(PAUSES_S), strict=False):
        stream.push(np.zeros(round(pause_s * rate), np.float32))
        stream.push(clip)
    stream.end_utterance()


def _provider_name() -> str:
    """Return onnxruntime-cuda where a GPU answers and onnxruntime is built for it, else onnxruntime-cpu."""
    import onnxruntime

    cuda = "onnxruntime-cuda"
    available = PROVIDERS[cuda] in onnxruntime.get_available_providers()
    return cuda if available and default_backend() == "tensorrt" else "onnxruntime-cpu"
