"""Where speech lies within a clip, by Silero VAD."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.audio import Samples
from runtime.vad import SAMPLE_RATE, THRESHOLD, WINDOW_S, WINDOW_SAMPLES, Vad

RUN = 3
"""Windows of 32 ms in a row at or above the threshold, so that a click is no onset."""
SPEECH_DEFINITION = (
    "Silero VAD 6.2 (silero-vad) on the clean clip, windows of 32 ms; onset is the beginning of the first, end the "
    f"end of the last run of at least {RUN} windows with a speech probability of at least {THRESHOLD}"
)


@dataclass(frozen=True)
class Speech:
    """Speech within a clip, in seconds from its first sample."""

    onset_s: float
    end_s: float


def find_speech(detector: Vad, samples: Samples, sample_rate: int) -> Speech | None:
    """Mark speech in a clip: float32 [samples] at 16 kHz. None where the detector, which is reset first, finds no speech.

    Raises:
        ValueError: another sample rate.
    """
    if sample_rate != SAMPLE_RATE:
        raise ValueError(f"the voice activity detector takes {SAMPLE_RATE} Hz, not {sample_rate} Hz")
    detector.reset()
    probabilities = detector.push(np.pad(samples, (0, -len(samples) % WINDOW_SAMPLES)))
    return marks(np.array(probabilities), WINDOW_S, len(samples) / sample_rate)


def marks(probabilities: npt.NDArray[np.float64], window_s: float, audio_s: float) -> Speech | None:
    """Return onset and end from the speech probability of each window: [windows]."""
    speech = probabilities >= THRESHOLD
    runs = [first for first in range(len(speech) - RUN + 1) if speech[first : first + RUN].all()]
    if not runs:
        return None
    return Speech(runs[0] * window_s, min((runs[-1] + RUN) * window_s, audio_s))
