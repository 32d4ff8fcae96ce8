"""The INT8 step of a bundle: written into it, and named in its manifest."""

from collections.abc import Collection
from pathlib import Path

import onnx

from calibration.record import calibration_path, read_calibration
from export.graph import write_graph
from export.quantise import quantised
from runtime.bundle import Quantisation, checked_file, read_bundle, step_file, write_manifest
from runtime.entries import StepEntry
from runtime.errors import InputError
from runtime.files import sha256, sources_hash

INT8_STEP = "step.int8.onnx"
SOURCES = ("export/placement.py", "export/quantise.py", "calibration/step.py")


def is_added(folder: Path, method: str, kept: Collection[str]) -> bool:
    """Return whether the bundle has an INT8 step, whole, of this method and of its calibration file as it lies."""
    bundle = read_bundle(folder)
    if "int8" not in bundle.steps or bundle.quantisation != _quantisation(folder, method, kept):
        return False
    try:
        checked_file(folder, bundle.step("int8"))
    except InputError:
        return False
    return True


def add_int8(folder: Path, method: str, kept: Collection[str] = ()) -> StepEntry:
    """Write step.int8.onnx from step.fp16.onnx and the bundle's calibration file, and name it in bundle.json.

    Args:
        folder: the bundle's.
        method: of the thresholds, such as entropy.
        kept: matrix products that stay in FP16.

    Raises InputError for a missing or foreign calibration file, or a method that it lacks.
    """
    bundle = read_bundle(folder)
    calibration = read_calibration(calibration_path(folder), bundle)
    source, _ = step_file(folder, bundle, "fp16")
    model = quantised(onnx.load(source), calibration.amax(method), kept)
    step = write_graph(folder / INT8_STEP, model, StepEntry)
    steps = {**bundle.steps, "int8": step}
    quantisation = _quantisation(folder, method, kept)
    write_manifest(folder, bundle.model_copy(update={"steps": steps, "quantisation": quantisation}))
    return step


def _quantisation(folder: Path, method: str, kept: Collection[str]) -> Quantisation:
    return Quantisation(
        method=method,
        calibration_sha256=sha256(calibration_path(folder)),
        kept=sorted(kept),
        sources=sources_hash(Path(__file__).parents[1] / name for name in SOURCES),
    )
