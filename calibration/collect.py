"""Histograms of what the quantised products read, from the states that a stream really has."""

from collections.abc import Callable, Iterable
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from calibration.histogram import Histogram
from calibration.placement import expose, quantised_products
from runtime.backends import StepResult, default_backend
from runtime.backends.onnxruntime import PROVIDERS, State, open_session
from runtime.bundle import Bundle, step_file
from runtime.entries import STATE
from runtime.recognizer import ALL_VALID, Recognizer

BUFFERED_STEPS = 32  # one call of numpy per tensor for so many steps; 31 MB for 114 M parameters at 80 ms
PAUSES_S = (0.3, 0.6, 1.0, 6.0)  # digital silence before a clip; the last one fills the whole left context of 5.6 s
PIECE_S = 1.0  # of audio pushed between two updates of the progress

Samples = npt.NDArray[np.float32]


class ObservedBackend:
    """A Backend: step.fp32.onnx in onnxruntime, which also counts what each quantised product reads."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        """Raises InputError for a bundle that is not whole or lacks a product to be quantised."""
        path, self._step = step_file(folder, bundle, "fp32")
        self._bundle = bundle
        model = onnx.load(path)
        self.products = quantised_products(model)
        """Product -> the tensor that it reads."""
        self.histograms = {tensor: Histogram(tensor) for tensor in self.products.values()}
        """By tensor; complete after `flush`."""
        self.steps = 0
        expose(model, self.histograms)
        self.name = _provider_name()
        self._session = open_session(model.SerializeToString(), self.name)
        self._outputs = [*self._step.results, *(f"next_{name}" for name in STATE), *self.histograms]
        self._waiting: dict[str, list[Samples]] = {tensor: [] for tensor in self.histograms}

    def new_state(self) -> State:
        """Zeros."""
        return {name: self._step.input(name).zeros() for name in STATE}

    def step(self, window: Samples, valid: int, state: State) -> StepResult:
        """See Backend.step. Frames after the end of the audio are computed, but not counted: nothing comes of them."""
        feeds = {"audio": window[None], "valid": np.array([valid], np.int32), **state}
        made = dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))
        frames = self._frames(valid)
        for tensor in self.histograms:
            values = made[tensor]
            # [T, features], or the other way round
            self._waiting[tensor].append(np.take(values, range(frames), values.shape.index(self._bundle.chunk_frames)))
        self.steps += 1
        if self.steps % BUFFERED_STEPS == 0:
            self.flush()
        following = {name: made[f"next_{name}"] for name in STATE}
        # No symbol of RNN-T: nothing is decoded where there is no CTC head.
        symbols = np.zeros((self._bundle.chunk_frames, 0), np.int32)
        return StepResult(**{name: made[name][0] for name in self._step.results}, state=following, symbols=symbols)

    def flush(self) -> None:
        """Count what is buffered. Raises InputError where it is not finite."""
        for tensor, parts in self._waiting.items():
            if parts:
                self.histograms[tensor].add(np.concatenate([part.ravel() for part in parts]))
                parts.clear()

    def close(self) -> None:
        """The session is freed with the object."""

    def _frames(self, valid: int) -> int:
        """Encoder frames of this step that an utterance of `valid` more mel frames has; the first one in any case."""
        if valid == ALL_VALID:
            return self._bundle.chunk_frames
        return min(self._bundle.chunk_frames, max(1, self._bundle.encoder_frames(valid * self._bundle.hop_samples)))


def stream_speech(
    recognizer: Recognizer, clips: Iterable[Samples], alone: int, advance: Callable[[float], None]
) -> None:
    """Stream the first `alone` clips one by one, each from an utterance's start to its flush, and the rest as one stream with pauses.

    `advance` is told of every piece of speech that was streamed, in seconds.
    """
    rate = recognizer.bundle.sample_rate
    stream = recognizer.stream()

    def push(clip: Samples) -> None:
        for start in range(0, len(clip), round(PIECE_S * rate)):
            piece = clip[start : start + round(PIECE_S * rate)]
            stream.push(piece)
            advance(len(piece) / rate)

    waiting = iter(clips)
    for clip in islice(waiting, alone):
        push(clip)
        stream.end_utterance()
    for clip, pause_s in zip(waiting, cycle(PAUSES_S), strict=False):
        stream.push(np.zeros(round(pause_s * rate), np.float32))
        push(clip)
    stream.end_utterance()


def _provider_name() -> str:
    """onnxruntime-cuda where a GPU answers and onnxruntime is built for it, else onnxruntime-cpu."""
    import onnxruntime

    cuda = "onnxruntime-cuda"
    available = PROVIDERS[cuda] in onnxruntime.get_available_providers()
    return cuda if available and default_backend() == "tensorrt" else "onnxruntime-cpu"
