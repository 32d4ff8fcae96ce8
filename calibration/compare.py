"""What another form of a step makes of speech, and how far that is from what the FP32 step makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from calibration.exposed import ExposedStep, Floats, Samples
from runtime.bundle import Bundle, read_bundle
from runtime.errors import InputError
from runtime.recognizer import Recognizer


def check_reference(bundle: Bundle, use: str) -> None:
    """Raise InputError for a bundle without an FP32 step, which `use` compares INT8 with."""
    if "fp32" not in bundle.steps:
        raise InputError(
            f"expected a bundle with an FP32 step for {use}, found {bundle.checkpoint.name} with {', '.join(bundle.steps)} alone; "
            f"do without"
        )


@dataclass(frozen=True)
class Heard:
    """What a step made of clips, each an utterance of its own."""

    frames: Mapping[str, Floats]
    """log_probs, encoded and what else was asked for: [frames of all clips, features]."""
    texts: tuple[str, ...]
    """By clip."""


def hear(
    folder: Path,
    model: onnx.ModelProto,
    clips: Sequence[Samples],
    tensors: Sequence[str] = (),
    *,
    threads: int = 0,
    lang: str | None = None,
) -> Heard:
    """Stream clips through a form of the step of the bundle in `folder`.

    `tensors`: FP32 ones [T, features] to keep beside log_probs and encoded; `threads`: 0 for one per core; `lang`: see Recognizer.

    Raises InputError for a bundle without a CTC head, and for a language that the checkpoint does not have.
    """
    bundle = read_bundle(folder)
    bundle.check_ctc("a comparison of log-probabilities")
    backend = ExposedStep(model, bundle, ["log_probs", "encoded", *tensors], threads=threads)
    texts = []
    with Recognizer(folder, backend=backend, lm=None, language=lang) as recognizer:
        stream = recognizer.stream(early="off")
        for clip in clips:
            stream.push(clip)
            texts.append(stream.end_utterance().text)
    return Heard({name: np.concatenate(parts) for name, parts in backend.kept.items()}, tuple(texts))


@dataclass(frozen=True)
class StepError:
    """How far a step's log-probabilities are from FP32's over the same frames."""

    rms: float
    """Root mean square difference, natural logarithm."""
    changed: float
    """Share of frames whose best token is another."""


def step_error(found: Floats, expected: Floats) -> StepError:
    """Of log-probabilities [frames, tokens]."""
    rms = np.sqrt(np.mean(np.square(found.astype(np.float64) - expected)))
    return StepError(float(rms), float(np.mean(found.argmax(1) != expected.argmax(1))))


def cosines(found: Floats, expected: Floats) -> npt.NDArray[np.float64]:
    """Of each frame's angle, [frames] of [frames, features]; frames of zeros on both sides are alike."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    alike: npt.NDArray[np.float64] = (a == b).all(1).astype(np.float64)
    return np.where(lengths > 0, (a * b).sum(1) / np.where(lengths > 0, lengths, 1.0), alike)
