"""The path from loudspeaker to microphone: how late the echo comes, and a Kalman filter that follows it and knows how far it may be off.

All of it works on blocks of 16 ms and on the difference of successive samples, which is about as loud at all frequencies of speech.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Real = npt.NDArray[np.float64]
Spectrum = npt.NDArray[np.complex128]

BLOCK = 256  # samples
BINS = BLOCK + 1  # of the spectrum of two blocks
PARTITIONS = 6  # blocks of the response that are followed: 96 ms
REACH = 16  # blocks, 256 ms: the echo begins within them
UNCERTAIN = 1e-12  # power, so that nothing is divided by zero
FORGETTING = 0.9995  # of a block: the path changes as fast as that
SMOOTHING = 0.9  # of a block: of the microphone's own signal
SPREAD = 0.1  # share of the expected response that may lie anywhere in it


def spectrum_of(older: Real, newer: Real) -> Spectrum:
    """Return the spectrum [BINS] of two successive blocks [BLOCK]."""
    spectrum: Spectrum = np.fft.rfft(np.concatenate([older, newer]))
    return spectrum


def find_delay(played: Real, heard: Real) -> int:
    """Return by how many samples, below REACH blocks, the echo in `heard` [n] follows `played` [n]: the strongest 32 ms of the response.

    Source: C. Knapp, G. Carter, "The generalized correlation method for estimation of time delay", 1976; its phase transform, softened.
    """
    size = len(played) + REACH * BLOCK
    cross = np.fft.rfft(heard, size) * np.fft.rfft(played, size).conj()
    power = np.abs(cross)
    response = np.fft.irfft(cross / (power**0.8 + 1e-9 * power.max() + UNCERTAIN), size)[: REACH * BLOCK]
    gathered = np.convolve(response**2, np.ones(2 * BLOCK))[2 * BLOCK - 1 :]  # from each sample on
    return int(np.argmax(gathered))


@dataclass(frozen=True)
class Left:
    """What a step left of a block of the microphone."""

    echo: Real
    """[BLOCK] that was subtracted."""
    error: Real
    """Power [BINS] of the rest."""
    expected: Real
    """Power [BINS] that the echo may have in it, by the filter's own account."""
    estimated: Real
    """Power [BINS] of the echo that was subtracted."""


class EchoPath:
    """A response of PARTITIONS blocks, followed by a partitioned-block Kalman filter in the frequency domain.

    The microphone's own signal is the filter's noise: while a user speaks it learns little, and its uncertainty says how much echo is left.
    Source: F. Kuech, E. Mabande, G. Enzner, "State-space architecture of the partitioned-block-based acoustic echo controller", 2014.
    """

    def __init__(self, gain: float, own: Real) -> None:
        """`gain`: of the echo's power to what is played; `own`: power [BINS] of the microphone's own signal, both at the most."""
        self.response: Spectrum = np.zeros((PARTITIONS, BINS), np.complex128)
        self._own = own
        self._variance: Real = np.full((PARTITIONS, BINS), gain / PARTITIONS)

    def doubt(self, gain: float, own: Real) -> None:
        """Of what was learned only trust how the echo's power is spread over the partitions; `gain`, `own`: as for a new path."""
        by_partition = np.mean(np.abs(self.response) ** 2, axis=1) + UNCERTAIN
        total = max(float(by_partition.sum()), 0.1 * gain)
        likely = (1 - SPREAD) * by_partition / by_partition.sum() + SPREAD / PARTITIONS
        self._variance = np.repeat(total * likely[:, None], BINS, axis=1)
        self._own = own

    def turn(self) -> None:
        """The device may begin to play earlier or later than it did before: expect all of the echo until that is known."""
        power = np.abs(self.response) ** 2
        smooth = np.stack([np.convolve(part, np.ones(9) / 9, mode="same") for part in power])
        earlier, later = np.pad(smooth, ((0, 1), (0, 0)))[1:], np.pad(smooth, ((1, 0), (0, 0)))[:-1]
        # What is subtracted may be wrong, and then adds to the echo as much again: four times its power.
        self._variance = np.maximum(self._variance, 4 * np.maximum(smooth, np.maximum(earlier, later)))

    def step(self, played: Spectrum, heard: Real, *, twice: bool) -> Left:
        """Take what is played [PARTITIONS, BINS], the newest first, and the microphone's next block [BLOCK]; learn from it, or twice."""
        power = np.abs(played) ** 2
        self.response *= FORGETTING
        self._variance = FORGETTING**2 * self._variance + (1 - FORGETTING**2) * np.abs(self.response) ** 2
        estimate, echo, error, expected = self._subtract(played, power, heard)
        left = Left(echo, np.abs(error) ** 2, expected, np.abs(estimate) ** 2 / 2)
        own = np.maximum(left.error - expected, 0.3 * left.error)
        self._own = np.maximum(SMOOTHING * self._own + (1 - SMOOTHING) * own, UNCERTAIN)
        self._learn(played, power, error, expected)
        if twice:
            _, _, error, expected = self._subtract(played, power, heard)
            self._learn(played, power, error, expected)
        return left

    def _subtract(self, played: Spectrum, power: Real, heard: Real) -> tuple[Spectrum, Real, Spectrum, Real]:
        estimate: Spectrum = (played * self.response).sum(axis=0)
        echo = np.fft.irfft(estimate)[BLOCK:]
        return estimate, echo, spectrum_of(np.zeros(BLOCK), heard - echo), 0.5 * (power * self._variance).sum(axis=0)

    def _learn(self, played: Spectrum, power: Real, error: Spectrum, expected: Real) -> None:
        gain = self._variance / (expected + self._own)
        change = np.fft.irfft(gain * played.conj() * error, axis=1)
        change[:, BLOCK:] = 0.0  # a partition is as long as a block
        self.response += np.fft.rfft(change, axis=1)
        self._variance *= np.clip(1 - 0.5 * gain * power, 0.0, 1.0)
