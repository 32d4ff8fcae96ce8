"""NeMo's offline forward under the streaming mask, and how far a step graph is from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.checkpoint import Checkpoint
from runtime import Recognizer
from runtime.backends import Backend, StepResult, open_backend
from runtime.bundle import Parity, read_bundle

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """An encoder's and CTC head's output for one utterance."""

    encoded: npt.NDArray[np.float32]
    """[frames, D]."""
    log_probs: npt.NDArray[np.float32]
    """[frames, V+1]."""


def nemo_offline(checkpoint: Checkpoint, lookahead_frames: int, audio: Samples) -> Reference:
    """NeMo's preprocessor, encoder and CTC head over a whole utterance `audio` [samples], with the mask of that look-ahead.

    In FP32, on the device that the checkpoint's modules are on.
    """
    left = checkpoint.architecture.left_context_frames
    checkpoint.encoder.set_default_att_context_size([left, lookahead_frames])
    device = next(checkpoint.encoder.parameters()).device
    with torch.inference_mode():
        signal, samples = torch.from_numpy(audio).to(device)[None], torch.tensor([len(audio)], device=device)
        mel, mel_frames = checkpoint.preprocessor(input_signal=signal, length=samples)
        encoded, frames = checkpoint.encoder(audio_signal=mel, length=mel_frames)
        log_probs = checkpoint.ctc_head(encoder_output=encoded)
    count = int(frames[0])
    return Reference(encoded[0, :, :count].T.cpu().numpy(), log_probs[0, :count].cpu().numpy())


class Recorder:
    """A backend that keeps the encoded frames and log-probabilities of every step of another."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name = backend.name
        self.steps: list[StepResult] = []

    def new_state(self) -> Any:  # noqa: ANN401
        """See Backend."""
        return self._backend.new_state()

    def step(self, window: Samples, valid: int, state: Any) -> StepResult:  # noqa: ANN401
        """See Backend."""
        self.steps.append(self._backend.step(window, valid, state))
        return self.steps[-1]

    def close(self) -> None:
        """See Backend."""
        self._backend.close()

    def frames(self, count: int) -> Reference:
        """The first `count` frames since the last call; forgets them."""
        steps, self.steps = self.steps, []
        return Reference(
            np.concatenate([each.encoded for each in steps])[:count],
            np.concatenate([each.log_probs for each in steps])[:count],
        )


def stream_frames(recognizer: Recognizer, recorder: Recorder, audio: Samples, frame_samples: int) -> Reference:
    """What the runtime computes for one utterance pushed in frames of `frame_samples` and finished."""
    stream = recognizer.stream()
    for start in range(0, len(audio), frame_samples):
        stream.push(audio[start : start + frame_samples])
    stream.end_utterance()
    return recorder.frames(recognizer.bundle.encoder_frames(len(audio)))


def compare(reference: Reference, found: Reference) -> Parity:
    """Largest absolute differences and whether every frame's best token is the same."""
    return Parity(
        frames=len(reference.encoded),
        encoded=float(np.abs(reference.encoded - found.encoded).max()),
        log_probs=float(np.abs(reference.log_probs - found.log_probs).max()),
        tokens_identical=bool((reference.log_probs.argmax(-1) == found.log_probs.argmax(-1)).all()),
    )


def measure_parity(checkpoint: Checkpoint, folder: Path, precision: str, lookahead_frames: int) -> Parity:
    """Parity of a bundle's step on ten seconds of seeded noise whose loudness comes and goes; no length is a multiple of a chunk."""
    generator = np.random.default_rng(0)
    samples = 160_077
    loudness = 0.1 * np.sin(np.arange(samples) * (2 * np.pi / 24_000)) ** 2
    audio = (generator.standard_normal(samples) * loudness).astype(np.float32)
    bundle = read_bundle(folder)
    recorder = Recorder(open_backend("onnxruntime-cpu", folder, bundle, precision))
    with Recognizer(folder, precision, recorder, lm=None) as recognizer:
        return compare(
            nemo_offline(checkpoint, lookahead_frames, audio), stream_frames(recognizer, recorder, audio, 320)
        )
