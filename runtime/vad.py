"""Voice activity: Silero VAD's own model, from the silero-vad package, run in onnxruntime on one CPU thread.

Source: github.com/snakers4/silero-vad, 6.2; windows, context and state as in its `OnnxWrapper`. The package itself, which
imports torch, is found and never imported: of it only the model's file is used.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .backends.onnxruntime import open_session
from .errors import InputError

SAMPLE_RATE = 16_000  # Hz, the only rate of this model
WINDOW_SAMPLES = 512  # 32 ms
WINDOW_S = WINDOW_SAMPLES / SAMPLE_RATE
CONTEXT_SAMPLES = 64  # of the window before, in front of each window
STATE_SHAPE = (2, 1, 128)
THRESHOLD = 0.5  # speech probability from which a window is voiced; the package's default

PACKAGE, MODEL = "silero_vad", Path("data/silero_vad_16k_op15.onnx")


class Vad:
    """Speech probabilities of one stream. All of a process share the model; each has its own state."""

    def __init__(self) -> None:
        """Raises InputError where the model is not installed."""
        self._session = _session()
        self.reset()

    def reset(self) -> None:
        """Forget the audio: equal to a new one."""
        self._state: npt.NDArray[np.float32] = np.zeros(STATE_SHAPE, np.float32)
        # The context, then the samples of the next window that are there.
        self._audio: npt.NDArray[np.float32] = np.zeros(CONTEXT_SAMPLES, np.float32)

    def push(self, samples: npt.NDArray[np.float32]) -> list[float]:
        """Take FP32 samples [n] in -1..1 at 16 kHz, any n; return the speech probability of each window that they filled."""
        audio = np.concatenate([self._audio, samples])
        probabilities = []
        start = 0
        while len(audio) - start >= CONTEXT_SAMPLES + WINDOW_SAMPLES:
            window = audio[None, start : start + CONTEXT_SAMPLES + WINDOW_SAMPLES]  # [1, 576]
            feeds = {"input": window, "state": self._state, "sr": np.array(SAMPLE_RATE, np.int64)}
            probability, self._state = self._session.run(None, feeds)  # [1, 1], [2, 1, 128]
            probabilities.append(float(probability[0, 0]))
            start += WINDOW_SAMPLES
        self._audio = audio[start:].copy()
        return probabilities


@cache
def _session() -> Any:  # noqa: ANN401 -- onnxruntime's
    return open_session(str(_model()), "onnxruntime-cpu", threads=1)


def _model() -> Path:
    spec = find_spec(PACKAGE)  # a package without a dot is looked up, not imported
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    found = next((folder / MODEL for folder in folders if (folder / MODEL).is_file()), None)
    if found is None:
        raise InputError(
            f"expected {PACKAGE}/{MODEL} of the silero-vad package, found none; run `make setup`, "
            f"or put the package's files on PYTHONPATH"
        )
    return found
