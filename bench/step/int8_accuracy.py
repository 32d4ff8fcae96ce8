"""`python -m bench int8`: how far INT8 is from FP32 on calibration speech, layer by layer and over a long stream."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from pydantic import Field
from rich.console import Console
from rich.progress import track

from bench.machine import collect
from bench.results import Report, result_path, write_result
from bench.rows import Provenance
from bench.session import FileOptions, Written
from calibration.compare import StepError, check_reference, cosines, hear, step_error
from calibration.exposed import ExposedStep, Floats, Samples
from calibration.record import calibration_path, read_calibration
from calibration.speech import default_folder, evaluation_folders, select
from data.speech import load_speech
from export.quantise import quantised
from runtime.backends import ALL_VALID
from runtime.backends.onnxruntime import State
from runtime.bundle import Bundle, read_bundle, step_file
from runtime.console import progress_console
from runtime.entries import Hash
from runtime.files import sha256

MARKS = (1, 10, 100, 1000)
"""Steps of one stream."""
Streamed = tuple[dict[str, Floats], dict[int, State]]
"""What a step made of one stream: log_probs and encoded [frames, features], and the state after each of MARKS."""


@dataclass(frozen=True, kw_only=True)
class Options(FileOptions):
    """What to compare, and on what."""

    bundle: Path
    """Folder made by `make export` and calibrated by `make calibrate`."""
    data: Path | None = None
    """Folder of calibration sets (default: data/asr_calib)."""
    lang: str = "en"
    """Language code of the manifests."""
    minutes: float = 3.0
    """Minutes of speech, the first ones."""


@dataclass(frozen=True)
class Cosine:
    """Between INT8's frames and FP32's."""

    mean: float
    least: float


@dataclass(frozen=True)
class Drift:
    """After so many steps of one stream. Frames are those since the mark before: one step's are few."""

    encoded: Cosine
    log_probs: StepError
    kv_cache: float
    """|INT8 - FP32| over |FP32| of the next step's state, Euclidean."""
    time_cache: float


@dataclass(frozen=True)
class Accuracy:
    """One INT8 step against FP32."""

    method: str
    kept: tuple[str, ...]
    """Matrix products in FP32, standing for FP16."""
    layers: dict[str, Cosine]
    """Of each layer's output, as layer0."""
    encoded: Cosine
    log_probs: StepError
    drift: dict[int, Drift]
    """By steps."""


class AccuracyReport(Report):
    """int8/NAME.json of a folder of results."""

    what = "accuracy report"
    folder = "int8"

    schema_: Literal[1] = Field(default=1, alias="schema_version")
    provenance: Provenance
    model: str
    lookahead_ms: int
    calibration_sha256: Hash
    """Of the calibration file."""
    minutes: float
    """Of calibration speech, clip by clip; drift is of one stream."""
    rows: list[Accuracy]


def layer_outputs(step: onnx.ModelProto) -> dict[str, str]:
    """Return layer -> its output tensor, that of the node layerN/norm_out."""
    found = {(re.match(r"(layer\d+)/norm_out$", node.name)): node.output[0] for node in step.graph.node}
    return {match[1]: tensor for match, tensor in found.items() if match}


def stream_steps(model: onnx.ModelProto, bundle: Bundle, audio: Samples) -> Streamed:
    """Run the last of MARKS steps over audio [n], from its start again where it ends."""
    backend = ExposedStep(model, bundle, ["log_probs", "encoded"])
    heard = np.resize(audio, (MARKS[-1] - 1) * bundle.chunk_samples + bundle.first_step_samples)
    padded = np.concatenate([np.zeros(bundle.window_samples - bundle.first_step_samples, np.float32), heard])
    state, states = backend.new_state(), {}
    for step in range(MARKS[-1]):
        start = step * bundle.chunk_samples
        state = backend.step(padded[start : start + bundle.window_samples], ALL_VALID, state).state
        if step + 1 in MARKS:
            states[step + 1] = state
    return {name: np.concatenate(parts) for name, parts in backend.kept.items()}, states


def drift(found: Streamed, expected: Streamed, frames: int) -> dict[int, Drift]:
    """Return the drift by steps; `frames`: encoder frames of a step."""
    result = {}
    for before, mark in zip((0, *MARKS), MARKS, strict=False):
        since = slice(before * frames, mark * frames)
        (a, after), (b, wanted) = found, expected
        result[mark] = Drift(
            _cosine(a["encoded"][since], b["encoded"][since]),
            step_error(a["log_probs"][since], b["log_probs"][since]),
            kv_cache=_relative(after[mark]["kv_cache"], wanted[mark]["kv_cache"]),
            time_cache=_relative(after[mark]["time_cache"], wanted[mark]["time_cache"]),
        )
    return result


def run(options: Options, argv: Sequence[str], console: Console) -> Written:  # noqa: ARG001 -- a command's arguments
    """Compare on calibration speech and write the report. Raises InputError for bad input."""
    rate = read_bundle(options.bundle).sample_rate
    folder = options.data or default_folder()
    selection = select(folder, options.lang, options.minutes, evaluation_folders(None), rate)
    path = result_path(options.out, options.name or options.bundle.absolute().name, AccuracyReport)
    result = report(options.bundle, list(load_speech(selection.utterances, rate)), argv)
    write_result(path, result)
    return Written(path, result)


def report(folder: Path, clips: Sequence[Samples], argv: Sequence[str]) -> AccuracyReport:
    """Compare every method with nothing kept, and the bundle's own INT8 step where it keeps something, with FP32.

    Raises InputError for a bundle that is not whole, or has no FP32 step or no calibration file of its own.
    """
    bundle = read_bundle(folder)
    check_reference(bundle, "the accuracy report")
    path = calibration_path(folder)
    calibration = read_calibration(path, bundle)
    step = onnx.load(step_file(folder, bundle, "fp32")[0])
    outputs, audio = layer_outputs(step), np.concatenate(clips)
    settings: list[tuple[str, tuple[str, ...]]] = [(method, ()) for method in calibration.methods]
    if bundle.quantisation and bundle.quantisation.kept:
        settings.append((bundle.quantisation.method, tuple(bundle.quantisation.kept)))
    expected, long = hear(folder, step, clips, [*outputs.values()]).frames, stream_steps(step, bundle, audio)
    rows = []
    for method, kept in track(settings, "INT8 against FP32", console=progress_console(), transient=True):
        model = quantised(step, calibration.amax(method), kept)
        found = hear(folder, model, clips, [*outputs.values()]).frames
        rows.append(
            Accuracy(
                method,
                kept,
                layers={layer: _cosine(found[tensor], expected[tensor]) for layer, tensor in outputs.items()},
                encoded=_cosine(found["encoded"], expected["encoded"]),
                log_probs=step_error(found["log_probs"], expected["log_probs"]),
                drift=drift(stream_steps(model, bundle, audio), long, bundle.chunk_frames),
            )
        )
    return AccuracyReport(
        provenance=collect(argv, []),
        model=bundle.checkpoint.name,
        lookahead_ms=bundle.lookahead_ms,
        calibration_sha256=sha256(path),
        minutes=round(len(audio) / bundle.sample_rate / 60, 3),
        rows=rows,
    )


def _cosine(found: Floats, expected: Floats) -> Cosine:
    values = cosines(found, expected)
    return Cosine(float(values.mean()), float(values.min()))


def _relative(found: npt.NDArray[np.generic], expected: npt.NDArray[np.generic]) -> float:
    """Return |found - expected| over |expected|, Euclidean; 0 where both are 0."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0))
