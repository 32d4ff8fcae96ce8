"""Voice activity: Silero VAD's own model, which the bundle carries, run in onnxruntime on one CPU thread.

Source: github.com/snakers4/silero-vad, 6.2; windows, context and state as in its `OnnxWrapper`.
"""

from functools import cache
from pathlib import Path
from typing import Any

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


class Vad:
    """Speech probabilities of one stream. All of a process share a model; each has its own state."""

    def __init__(self, model: Path) -> None:
        """`model`: silero_vad_16k_op15.onnx."""
        self._session = _session(model)
        self.reset()

    def reset(self) -> None:
        """Forget the audio: equal to a new one."""
        self._state: Samples = np.zeros(STATE_SHAPE, np.float32)
        # The context, then the samples of the next window that are there.
        self._audio: Samples = np.zeros(CONTEXT_SAMPLES, np.float32)

    def push(self, samples: Samples) -> list[float]:
        """Take FP32 samples [n] in -1..1 at 16 kHz, any n; return the speech probability of each window that they filled."""
        audio = np.concatenate([self._audio, samples])
        probabilities = []
        while len(audio) >= CONTEXT_SAMPLES + WINDOW_SAMPLES:
            window = audio[None, : CONTEXT_SAMPLES + WINDOW_SAMPLES]  # [1, 576]
            feeds = {"input": window, "state": self._state, "sr": np.array(SAMPLE_RATE, np.int64)}
            probability, self._state = self._session.run(None, feeds)  # [1, 1], [2, 1, 128]
            probabilities.append(float(probability[0, 0]))
            audio = audio[WINDOW_SAMPLES:]
        self._audio = audio.copy()
        return probabilities


@cache
def _session(model: Path) -> Any:  # noqa: ANN401 -- onnxruntime's
    return open_session(str(model), "onnxruntime-cpu", threads=1)
