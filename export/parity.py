"""NeMo's offline forward under the streaming mask, and how far a step graph is from it."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.checkpoint import Checkpoint
from runtime import Recognizer
from runtime.backends import Backend, StepResult, Wrapped, open_backend
from runtime.backends.onnxruntime import RnntSession
from runtime.bundle import Bundle, Parity, read_bundle
from runtime.entries import MAX_SYMBOLS

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Emission:
    """What greedy RNN-T gives for one utterance."""

    tokens: tuple[int, ...]
    log_probs: npt.NDArray[np.float32]
    """Each token's natural log-probability among the joint's classes [tokens]."""


@dataclass(frozen=True)
class Reference:
    """An encoder's output for one utterance, and its CTC head's."""

    encoded: npt.NDArray[np.float32]
    """[frames, D]."""
    log_probs: npt.NDArray[np.float32] | None
    """[frames, V+1]; None without a CTC head."""


@dataclass(frozen=True)
class Expectation:
    """What NeMo gives for an utterance, which the step of each precision is compared with."""

    language: str | None
    audio: Samples
    """[samples]."""
    frames: Reference
    emission: Emission | None
    """None without a transducer."""


def nemo_offline(checkpoint: Checkpoint, lookahead_frames: int, audio: Samples, prompt: int | None = None) -> Reference:
    """NeMo's preprocessor, encoder and CTC head over a whole utterance `audio` [samples], with the mask of that look-ahead.

    `prompt`: number of the language, for a checkpoint that is told one, whose prompt kernel stands before the head. In FP32, on the
    device that the checkpoint's modules are on.
    """
    import torch

    left = checkpoint.architecture.left_context_frames
    checkpoint.encoder.set_default_att_context_size([left, lookahead_frames])
    device = next(checkpoint.encoder.parameters()).device
    with torch.inference_mode():
        signal, samples = torch.from_numpy(audio).to(device)[None], torch.tensor([len(audio)], device=device)
        mel, mel_frames = checkpoint.preprocessor(input_signal=signal, length=samples)
        encoded, frames = checkpoint.encoder(audio_signal=mel, length=mel_frames)
        if prompt is not None:
            encoded = _prompted(checkpoint.prompt_kernel, encoded, prompt)
        log_probs = None if checkpoint.ctc_head is None else checkpoint.ctc_head(encoder_output=encoded)
    count = int(frames[0])
    return Reference(
        encoded[0, :, :count].T.cpu().numpy(), None if log_probs is None else log_probs[0, :count].cpu().numpy()
    )


def _prompted(kernel: Any, encoded: Any, prompt: int) -> Any:  # noqa: ANN401 -- torch's
    """What NeMo's forward of a model with prompts does of encoded frames [1, D, T]."""
    import torch

    frames = encoded.transpose(1, 2)
    one_hot = frames.new_zeros(1, frames.shape[1], kernel[0].in_features - frames.shape[2])
    one_hot[:, :, prompt] = 1
    return kernel(torch.cat([frames, one_hot], -1)).transpose(1, 2)


class Recorder(Wrapped):
    """A backend that keeps the encoded frames and log-probabilities of every step of another."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.steps: list[StepResult] = []

    def step(self, window: Samples, valid: int, state: Any) -> StepResult:  # noqa: ANN401
        """See Backend."""
        self.steps.append(self.wrapped.step(window, valid, state))
        return self.steps[-1]

    def frames(self, count: int) -> Reference:
        """The first `count` frames since the last call; forgets them."""
        steps, self.steps = self.steps, []
        log_probs = [step.log_probs for step in steps if step.log_probs is not None]
        return Reference(
            np.concatenate([step.encoded for step in steps])[:count],
            np.concatenate(log_probs)[:count] if log_probs else None,
        )


def stream_frames(
    recognizer: Recognizer, recorder: Recorder, audio: Samples, frame_samples: int, language: str | None = None
) -> Reference:
    """What the runtime computes for one utterance pushed in frames of `frame_samples` and finished."""
    stream = recognizer.stream(language=language)
    for start in range(0, len(audio), frame_samples):
        stream.push(audio[start : start + frame_samples])
    stream.end_utterance()
    return recorder.frames(recognizer.bundle.encoder_frames(len(audio)))


def compare(reference: Reference, found: Reference) -> Parity:
    """Largest absolute differences and whether every frame's best token is the same."""
    log_probs, tokens_identical = None, None
    if reference.log_probs is not None and found.log_probs is not None:
        log_probs = float(np.abs(reference.log_probs - found.log_probs).max())
        tokens_identical = bool((reference.log_probs.argmax(-1) == found.log_probs.argmax(-1)).all())
    return Parity(
        frames=len(reference.encoded),
        encoded=float(np.abs(reference.encoded - found.encoded).max()),
        log_probs=log_probs,
        tokens_identical=tokens_identical,
    )


def seeded_noise() -> Samples:
    """Ten seconds of noise whose loudness comes and goes; no length is a multiple of a chunk."""
    generator = np.random.default_rng(0)
    samples = 160_077
    loudness = 0.1 * np.sin(np.arange(samples) * (2 * np.pi / 24_000)) ** 2
    noise: Samples = (generator.standard_normal(samples) * loudness).astype(np.float32)
    return noise


PROMPTS = 5
"""Languages whose parity is measured, where a checkpoint has so many prompts: the bundle's own and others from the first to the last."""


def languages_measured(bundle: Bundle) -> list[str | None]:
    """Languages whose prompts differ, the bundle's own first; [None] for a checkpoint of one language."""
    if not bundle.prompts:
        return [None]
    by_prompt = {number: language for language, number in bundle.prompts.items() if number != bundle.prompt(None)}
    others = [by_prompt[number] for number in sorted(by_prompt)]
    places = np.linspace(0, len(others) - 1, min(PROMPTS - 1, len(others))).round().astype(int)
    return [bundle.language, *(others[place] for place in places)]


def expectations(checkpoint: Checkpoint, bundle: Bundle, lookahead_frames: int) -> list[Expectation]:
    """What NeMo gives for seeded noise, of which each of PROMPTS languages has a part where the checkpoint has prompts."""
    languages = languages_measured(bundle)
    expected = []
    for language, audio in zip(languages, np.array_split(seeded_noise(), len(languages)), strict=True):
        frames = nemo_offline(checkpoint, lookahead_frames, audio, bundle.prompt(language))
        emission = nemo_greedy_rnnt(checkpoint, frames.encoded) if checkpoint.architecture.transducer else None
        expected.append(Expectation(language, audio, frames, emission))
    return expected


def measure_parity(expected: Sequence[Expectation], folder: Path, precision: str) -> Parity:
    """Parity of a bundle's step, and of its evaluation, where it has one, over NeMo's encoded frames.

    The encoder's rounding is not in the evaluation's.
    """
    bundle = read_bundle(folder)
    recorder = Recorder(open_backend(folder, bundle, "onnxruntime-cpu", precision, bundle.step_decoder))
    found = []
    with Recognizer(folder, backend=recorder, lm=None) as recognizer:
        for each in expected:
            parity = compare(each.frames, stream_frames(recognizer, recorder, each.audio, 320, each.language))
            if each.emission:
                emitted = evaluated_rnnt(folder, precision, each.frames.encoded)
                parity = parity.model_copy(update=_compared_rnnt(each.emission, emitted))
            found.append(parity)
    return reduce(worst_of, found)


def worst_of(one: Parity, other: Parity) -> Parity:
    """Parity over the frames of both."""

    def both(name: str, of: Callable[[Any, Any], Any]) -> Any:  # noqa: ANN401 -- a field's
        values = getattr(one, name), getattr(other, name)
        return None if None in values else of(*values)

    combined: dict[str, Callable[[Any, Any], Any]] = {
        **dict.fromkeys(("frames", "rnnt_tokens"), operator.add),
        **dict.fromkeys(("encoded", "log_probs", "rnnt_log_probs"), lambda *far: float(np.maximum(*far))),
        **dict.fromkeys(("tokens_identical", "rnnt_identical"), operator.and_),
    }
    return Parity(**{name: both(name, of) for name, of in combined.items()})


def _compared_rnnt(expected: Emission, found: Emission) -> dict[str, Any]:
    """Parity's fields of RNN-T."""
    same = found.tokens == expected.tokens
    log_probs = float(np.abs(found.log_probs - expected.log_probs).max(initial=0)) if same else None
    return {"rnnt_tokens": len(expected.tokens), "rnnt_identical": same, "rnnt_log_probs": log_probs}


def nemo_greedy_rnnt(checkpoint: Checkpoint, encoded: npt.NDArray[np.float32]) -> Emission:
    """NeMo's greedy RNN-T over a whole utterance's encoded frames [frames, D]."""
    import torch
    from nemo.collections.asr.parts.submodules.rnnt_greedy_decoding import GreedyRNNTInfer

    blank = checkpoint.architecture.vocabulary
    greedy = GreedyRNNTInfer(
        checkpoint.prediction, checkpoint.joint, blank, max_symbols_per_step=MAX_SYMBOLS, preserve_alignments=True
    )
    frames = torch.from_numpy(np.ascontiguousarray(encoded.T))[None]
    with torch.inference_mode():
        (hypotheses,) = greedy(encoder_output=frames, encoded_lengths=torch.tensor([len(encoded)]))
    decisions = [
        (int(best), classes) for frame in hypotheses[0].alignments for classes, best in frame if int(best) != blank
    ]
    return Emission(
        tuple(int(token) for token in hypotheses[0].y_sequence),
        np.array([float(classes[best]) for best, classes in decisions], np.float32),
    )


def evaluated_rnnt(folder: Path, precision: str, encoded: npt.NDArray[np.float32]) -> Emission:
    """A bundle's evaluation over the same frames, chunk by chunk."""
    bundle = read_bundle(folder)
    evaluations = RnntSession(folder, bundle, precision, "onnxruntime-cpu")
    state, tokens, log_probs = evaluations.new_state(), [], []
    for start in range(0, len(encoded), bundle.chunk_frames):
        chunk = encoded[start : start + bundle.chunk_frames]
        padded = np.pad(chunk, ((0, bundle.chunk_frames - len(chunk)), (0, 0)))
        decoded, state = evaluations.decode(padded, state)
        symbols, scores = (decoded[name][: len(chunk)] for name in ("symbols", "symbol_log_probs"))
        tokens += symbols[symbols != bundle.blank].tolist()
        log_probs += scores[symbols != bundle.blank].tolist()
    return Emission(tuple(tokens), np.array(log_probs, np.float32))
