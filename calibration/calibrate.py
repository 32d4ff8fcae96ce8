"""From a bundle and calibration speech to the calibration file: histograms of what quantised matrix products read, then thresholds."""

from collections.abc import Iterable
from datetime import datetime, timezone
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import onnx
from rich.progress import track

from calibration.exposed import ExposedStep, Samples
from calibration.histogram import BINS, Histogram
from calibration.record import Activation, Calibration, read_calibration
from calibration.speech import Selection
from calibration.thresholds import METHODS, thresholds
from data.speech import load_speech
from export.placement import quantised_products
from runtime.backends import StepResult, default_backend
from runtime.backends.onnxruntime import PROVIDERS, State
from runtime.bundle import Bundle, read_bundle, step_file
from runtime.console import progress_console
from runtime.errors import InputError
from runtime.files import sources_hash
from runtime.recognizer import Recognizer

SOURCES = (
    "calibration/calibrate.py",
    "calibration/exposed.py",
    "calibration/histogram.py",
    "export/placement.py",
    "calibration/thresholds.py",
)
BUFFERED_STEPS = 32
"""One call of numpy per tensor for so many steps; 31 MB for 114 M parameters at 80 ms."""
PAUSES_S = (0.3, 0.6, 1.0, 6.0)
"""Seconds of digital silence before a clip; the last one fills the whole left context of 5.6 s."""


class ObservedBackend(ExposedStep):
    """A Backend: the widest step of a bundle in onnxruntime, which also counts what each quantised matrix product reads.

    It computes on the GPU where one answers and onnxruntime is built for it.
    """

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        """Raises InputError for a bundle that is not whole or lacks a matrix product to be quantised."""
        import onnxruntime

        path, _ = step_file(folder, bundle, bundle.widest)
        model = onnx.load(path)
        self.products = quantised_products(model)
        """Matrix product -> the tensor that it reads."""
        self.histograms = {tensor: Histogram(tensor) for tensor in self.products.values()}
        """By tensor; complete after `flush`."""
        cuda = "onnxruntime-cuda"
        on_gpu = PROVIDERS[cuda] in onnxruntime.get_available_providers() and default_backend() == "tensorrt"
        super().__init__(model, bundle, [*self.histograms], cuda if on_gpu else "onnxruntime-cpu")

    def step(self, window: Samples, valid: int, state: State) -> StepResult:
        """See Backend.step."""
        result = super().step(window, valid, state)
        if self.steps % BUFFERED_STEPS == 0:
            self.flush()
        return result

    def flush(self) -> None:
        """Count what is buffered. Raises InputError where it is not finite."""
        for tensor, parts in self.kept.items():
            if parts:
                self.histograms[tensor].add(np.concatenate([part.ravel() for part in parts], dtype=np.float32))
                parts.clear()


def calibrator_hash() -> str:
    """Return the hash of the sources that thresholds depend on: another calibrator makes the file again."""
    return sources_hash(Path(__file__).parents[1] / name for name in SOURCES)


def is_current(path: Path, bundle: Bundle, selection: Selection) -> bool:
    """Return whether `path` is what this calibrator made of this bundle and this speech."""
    try:
        calibration = read_calibration(path, bundle)
    except InputError:
        return False
    return (calibration.calibrator, calibration.data) == (calibrator_hash(), selection.data)


def calibrate(folder: Path, selection: Selection, lang: str) -> Calibration:
    """Stream the clips through the bundle's widest step, with a progress bar, and find every matrix product's thresholds.

    Half of the clips are utterances of their own, half are one stream. Clips are loaded one at a time. `lang`: what the recogniser hears.

    Raises InputError for a language that the checkpoint does not have, for a bundle that is not whole, and for activations that are not
    finite or nothing but 0.
    """
    bundle = read_bundle(folder)
    backend = ObservedBackend(folder, bundle)
    title = f"calibrating on {backend.name}"
    utterances = track(selection.utterances, title, console=progress_console(), transient=True)
    with Recognizer(folder, backend=backend, lm=None, language=lang) as recognizer:
        clips = load_speech(utterances, bundle.sample_rate)
        stream_speech(recognizer, clips, len(selection.utterances) // 2)
        backend.flush()
    products = {}
    for name, tensor in backend.products.items():
        histogram = backend.histograms[tensor]
        products[name] = Activation(
            tensor=tensor,
            samples=histogram.samples,
            zeros=histogram.zeros,
            absolute_max=histogram.absolute_max,
            amax=thresholds(histogram),
        )
    return Calibration(
        calibrator=calibrator_hash(),
        step_sha256=bundle.step(bundle.widest).sha256,
        checkpoint_sha256=bundle.checkpoint.sha256,
        data=selection.data,
        created=datetime.now(timezone.utc).date().isoformat(),
        steps=backend.steps,
        bins=BINS,
        methods=list(METHODS),
        products=products,
    )


def stream_speech(recognizer: Recognizer, clips: Iterable[Samples], alone: int) -> None:
    """Stream the first `alone` clips one by one, each from an utterance's start to its flush, and the rest as one stream with pauses."""
    rate = recognizer.bundle.sample_rate
    stream, waiting = recognizer.stream(early="off"), iter(clips)
    for clip in islice(waiting, alone):
        stream.push(clip)
        stream.end_utterance()
    for clip, pause_s in zip(waiting, cycle(PAUSES_S), strict=False):
        stream.push(np.zeros(round(pause_s * rate), np.float32))
        stream.push(clip)
    stream.end_utterance()
