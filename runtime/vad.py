"""Voice activity: Silero VAD's own model, which the bundle carries, run in onnxruntime on one CPU thread.

Source: github.com/snakers4/silero-vad, 6.2; windows, context and state as in its `OnnxWrapper`.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .audio import Samples
from .backends.onnxruntime import open_session

SAMPLE_RATE = 16_000  # Hz, the only rate of this model
WINDOW_SAMPLES = 512  # 32 ms
WINDOW_S = WINDOW_SAMPLES / SAMPLE_RATE
WINDOW_MS = WINDOW_S * 1e3
CONTEXT_SAMPLES = 64  # of the window before, in front of each window
STATE_SHAPE = (2, 1, 128)
THRESHOLD = 0.5  # speech probability from which a window is voiced; the package's default

_shared_session = cache(open_session)


class Vad:
    """Speech probabilities of one stream. All of a process share a model; each has its own state."""

    def __init__(self, model: Path) -> None:
        """`model`: silero_vad_16k_op15.onnx."""
        self._session = _shared_session(str(model), "onnxruntime-cpu", threads=1)
        self.reset()

    def reset(self) -> None:
        """Forget the audio: equal to a new one."""
        self._state: Samples = np.zeros(STATE_SHAPE, np.float32)
        # The context, then the samples of the next window that are there.
        self._audio: Samples = np.zeros(CONTEXT_SAMPLES, np.float32)

    def push(self, samples: Samples) -> list[float]:
        """Take FP32 samples [n] in -1..1 at 16 kHz, any n; return the speech probability of each window that they filled."""
        return [voice.run() for voice in self.voices(samples)]

    def voices(self, samples: Samples) -> Iterator["Voice"]:
        """Take samples as `push` does; yield each window that they filled, to be run before the next one is asked for."""
        self._audio = np.concatenate([self._audio, samples])
        while len(self._audio) >= CONTEXT_SAMPLES + WINDOW_SAMPLES:
            window, self._audio = self._audio[: CONTEXT_SAMPLES + WINDOW_SAMPLES], self._audio[WINDOW_SAMPLES:]
            yield Voice(self, window)  # at an endpoint the detector is reset before the next one is asked for
        self._audio = self._audio.copy()

    @staticmethod
    def run(voices: Sequence["Voice"]) -> list[float]:
        """Return the probabilities of windows of different detectors; each is what it would be alone."""
        detectors = [voice.detector for voice in voices]
        windows = np.stack([voice.window for voice in voices])  # [n, 576]
        states = np.concatenate([detector._state for detector in detectors], axis=1)  # noqa: SLF001 -- [2, n, 128]
        feeds = {"input": windows, "state": states, "sr": np.array(SAMPLE_RATE, np.int64)}
        probabilities, states = detectors[0]._session.run(None, feeds)  # noqa: SLF001 -- [n, 1], [2, n, 128]
        for number, detector in enumerate(detectors):
            detector._state = states[:, number : number + 1]  # noqa: SLF001
        found: list[float] = probabilities[:, 0].tolist()
        return found


class Voice(NamedTuple):
    """A window that is to be told a speech probability of."""

    detector: Vad
    window: Samples
    """[576]: the context, then the window."""

    def run(self) -> float:
        """Return it."""
        return Vad.run([self])[0]
