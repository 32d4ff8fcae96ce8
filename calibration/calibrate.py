"""From a bundle and calibration speech to the calibration file, unless the file is current."""

from datetime import datetime, timezone
from pathlib import Path

from rich.progress import track

from calibration.collect import ObservedBackend, stream_speech
from calibration.histogram import BINS
from calibration.record import Activation, Calibration, read_calibration
from calibration.speech import Selection
from calibration.thresholds import METHODS, thresholds
from data import load_audio
from runtime.bundle import Bundle, read_bundle
from runtime.console import progress_console
from runtime.errors import InputError
from runtime.files import sources_hash
from runtime.recognizer import Recognizer

SOURCES = (
    "calibration/calibrate.py",
    "calibration/collect.py",
    "calibration/exposed.py",
    "calibration/histogram.py",
    "export/placement.py",
    "calibration/thresholds.py",
)


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


def calibrate(folder: Path, selection: Selection) -> Calibration:
    """Stream the clips through the bundle's widest step, with a progress bar, and find every matrix product's thresholds.

    Half of the clips are utterances of their own, half are one stream. Clips are loaded one at a time.

    Raises InputError for a bundle that is not whole, and for activations that are not finite or nothing but 0.
    """
    bundle = read_bundle(folder)
    backend = ObservedBackend(folder, bundle)
    title = f"calibrating on {backend.name}"
    utterances = track(selection.utterances, title, console=progress_console(), transient=True)
    with Recognizer(folder, backend=backend, lm=None) as recognizer:
        clips = (load_audio(utterance.audio, bundle.sample_rate) for utterance in utterances)
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
