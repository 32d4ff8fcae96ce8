"""Echo of the agent's own voice: cancelled by Speex, and what is left of it told from a user by its level."""

from collections import deque
from typing import Any

import numpy as np

from .audio import Samples
from .errors import imported, install

Cleaned = Samples
"""A piece of the microphone's audio [2, n]. First the echo subtracted, the rest as it was: Speex's damping of what is left would delay
the detector. Then what was played meanwhile."""

FRAME_MS = 20
TAIL_MS = 256  # from the reference to the last of its echo: delay of the device and reverberation
FULL_SCALE = 32767.0
QUIET_DB = -60.0  # of full scale; a reference below it explains nothing
# Per window of 32 ms: the leak falls as the canceller learns; a user cannot raise it.
FALL_DB, RISE_DB = 0.3, 1.0


def unechoed(samples: Samples) -> Cleaned:
    """Audio as it came while nothing was played."""
    return np.stack([samples, np.zeros_like(samples)])


class EchoCanceller:
    """Speex's echo canceller (J.-M. Valin, "On adjusting the learning rate in frequency domain echo cancellation with double-talk",
    2007) by way of pyaec, which brings it compiled.
    """  # noqa: D205

    def __init__(self, sample_rate: int) -> None:
        """Raises InputError where pyaec is missing or does not load."""
        self.frame = sample_rate * FRAME_MS // 1000
        taps = sample_rate * TAIL_MS // 1000
        self._speex = imported("pyaec", "pyaec for the echo reference", install()).Aec(
            self.frame, taps, sample_rate, False
        )
        self._played: Samples = np.zeros(0, np.float32)
        self._heard: Samples = np.zeros(0, np.float32)

    def play(self, samples: Samples) -> None:
        """FP32 [n] that the loudspeaker plays now, after what it was given before and has not played: it plays as the microphone hears."""
        self._played = np.concatenate([self._played, samples])

    def silence(self) -> None:
        """Forget what was to be played."""
        self._played = np.zeros(0, np.float32)

    def push(self, samples: Samples) -> Cleaned:
        """Take FP32 [n] of the microphone; return whole frames, what is left over comes with the next."""
        heard = np.concatenate([self._heard, samples])
        whole = len(heard) // self.frame * self.frame
        self._heard = heard[whole:]
        reference = self._played[:whole]
        self._played = self._played[whole:]
        reference = np.pad(reference, (0, whole - len(reference)))
        frames = zip(heard[:whole].reshape(-1, self.frame), reference.reshape(-1, self.frame), strict=True)
        cleaned = [self._speex.cancel_echo(_int16(mine), _int16(theirs)) for mine, theirs in frames]
        return np.stack([np.array(cleaned, np.float32).reshape(-1) / np.float32(FULL_SCALE), reference])

    @property
    def wanting(self) -> int:
        """Samples of the microphone until the next frame is whole."""
        return self.frame - len(self._heard)

    def flush(self) -> Samples:
        """The microphone's audio that is left over, less than a frame, as it came."""
        rest, self._heard = self._heard, np.zeros(0, np.float32)
        return rest


class EchoGate:
    """Whether the echo explains a window: compares its level with the reference's and with how much of that leaked until now."""

    def __init__(self, margin_db: float) -> None:
        self._margin_db = margin_db
        # Of the cleaned audio to the reference, at its highest; at first the echo is as loud as that.
        self._leak_db = 0.0
        self._played_db: deque[float] = deque(maxlen=10)  # windows: the echo comes late, and lasts

    def explains(self, window: Cleaned, voiced: bool) -> bool:
        """Take the next window; `voiced` and unexplained, it is a user's and says nothing of the leak."""
        heard, played = map(_db, window)
        self._played_db.append(played)
        loudest = max(self._played_db)
        if loudest < QUIET_DB:
            return False
        explained = heard < loudest + self._leak_db + self._margin_db
        if explained or not voiced:
            self._leak_db = float(np.clip(heard - loudest, self._leak_db - FALL_DB, self._leak_db + RISE_DB))
        return explained


def _db(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(np.square(samples)) + 1e-10))


def _int16(samples: Samples) -> Any:  # noqa: ANN401 -- ctypes
    return (np.clip(samples, -1, 1) * FULL_SCALE).astype(np.int16).tolist()
