"""Echo of the agent's own voice: subtracted, and what may be left of it told from a user."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from .audio import Samples
from .echo_path import BINS, BLOCK, PARTITIONS, REACH, EchoPath, Left, Real, Spectrum, find_delay, spectrum_of
from .vad import SAMPLE_RATE, WINDOW_SAMPLES

WINDOW = WINDOW_SAMPLES // BLOCK  # blocks
TAIL_MS = 1000 * (REACH + PARTITIONS) * BLOCK // SAMPLE_RATE  # from what is played to the last of its echo
EMPHASIS = 0.9  # of the sample before, which is subtracted
KEPT = 96 + REACH + PARTITIONS  # blocks that are learned from again: 1.5 s, and what they are echoes of
KEPT_MS = 1000 * KEPT * BLOCK // SAMPLE_RATE
AGAIN = 36  # blocks that are cleaned again: 0.6 s
FIRST_BLOCKS = 24  # with sound, until a delay is looked for
SURE_BLOCKS = 32  # with sound, from which one is taken even where the look before found another
MORE = 1.5  # times as many blocks with sound until the next look
EARLY = BLOCK // 4  # samples before the delay that was found, so that the response lies within the partitions
QUIET = 1e-6  # power, -60 dBFS: what is played below it has no echo, what is heard below it is no user
DISTORTION = 10**-2.5  # of the echo's power: what a loudspeaker adds, which no filter takes away
REVERBERATION = 8  # windows for which that is heard
NOISE, NOISE_WINDOWS = 2.0, 48  # the room's noise is so many times the power of the quietest among so many windows

# What is left is weighed from 100 to 4000 Hz, falling by 3 dB an octave: half of what the emphasis raised is taken back.
_FREQUENCIES = np.arange(BINS) * SAMPLE_RATE / (2 * BLOCK)  # Hz
_TILT = 1 / np.abs(1 - EMPHASIS * np.exp(-1j * np.pi * np.arange(BINS) / BLOCK))
_WEIGHTS: Real = np.where((_FREQUENCIES >= 100) & (_FREQUENCIES <= 4000), _TILT, 0.0)
_FLOOR = QUIET * BLOCK**2 * float(np.mean(_WEIGHTS)) / 4  # of a block: emphasised noise has about so much
_DECAY = EMPHASIS ** np.arange(BLOCK)
_NOTHING: Spectrum = np.zeros(BINS, np.complex128)


@dataclass
class _Block:
    """16 ms of a turn."""

    heard: Samples
    cleaned: Samples
    heard_emphasised: Real
    played_emphasised: Real
    played_spectrum: Spectrum
    """[BINS], of the block before and this one."""
    left: float = 0.0
    """Weighed power of what is left of the microphone's."""
    expected: float = 0.0
    """Of the echo that may be in that."""
    estimated: float = 0.0
    """Of the echo that was subtracted."""
    echo_end: float = 0.0
    """The last sample of that."""


class EchoCanceller:
    """Subtracts the echo of what is played, once it knows the path, and tells by how much a window exceeds what may be left of it.

    Until then the echo may be as loud as what is played, and come at any time within REACH blocks. The path is kept from turn to turn.
    """

    def __init__(self) -> None:
        self._to_play: Samples = np.zeros(0, np.float32)
        self._unseen: Samples = np.zeros(0, np.float32)
        self._path: EchoPath | None = None
        self._delay = self._found = -2 * REACH  # blocks
        self.turn()

    def turn(self) -> None:
        """The agent begins to speak."""
        self.silence()
        self._blocks: deque[_Block] = deque(maxlen=KEPT)
        self._heard_end = self._played_end = 0.0
        self._sounding, self._next_look = 0, FIRST_BLOCKS
        if self._path is not None:
            self._path.turn()

    def play(self, samples: Samples) -> None:
        """FP32 [n] that the loudspeaker plays now, after what it was given before and has not played: it plays as the microphone hears."""
        played_meanwhile = max(0, len(self._unseen) - len(self._to_play))
        self._to_play = np.concatenate([self._to_play, np.zeros(played_meanwhile, np.float32), samples])

    def silence(self) -> None:
        """Forget what was to be played."""
        self._to_play = np.zeros(0, np.float32)

    @property
    def to_play(self) -> int:
        """Samples that are still to be played."""
        return len(self._to_play)

    @property
    def wanting(self) -> int:
        """Samples of the microphone until the next window is whole."""
        return WINDOW_SAMPLES - len(self._unseen)

    def push(self, samples: Samples) -> Samples:
        """Take FP32 [n] of the microphone, at most what is wanting; return the window without its echo when it is whole, else nothing."""
        self._unseen = np.concatenate([self._unseen, samples])
        if self.wanting:
            return self._unseen[:0]
        played, self._to_play = self._to_play[:WINDOW_SAMPLES], self._to_play[WINDOW_SAMPLES:]
        played = np.pad(played, (0, WINDOW_SAMPLES - len(played)))
        window = zip(self.flush().reshape(WINDOW, BLOCK), played.reshape(WINDOW, BLOCK), strict=True)
        return np.concatenate([self._push_block(*block) for block in window])

    def flush(self) -> Samples:
        """The microphone's audio that is left over, less than a window, as it came."""
        rest, self._unseen = self._unseen, np.zeros(0, np.float32)
        return rest

    def unexplained_db(self, windows: int) -> Real:
        """By how much each of the last windows exceeds the echo and the noise that may be in it: dB [windows], the newest last.

        Fewer where the turn is not as old. To be called once a window was whole.
        """
        before = NOISE_WINDOWS + windows
        blocks = list(self._blocks)[-WINDOW * before :]
        powers = np.array([(block.left, block.expected, block.estimated) for block in blocks])
        left, expected, estimated = powers.reshape(-1, WINDOW, 3).sum(axis=1).T
        exceeding = []
        for at in range(max(0, len(left) - windows), len(left)):
            noise = NOISE * left[max(0, at - NOISE_WINDOWS) : at + 1].min() if at >= REVERBERATION else 0.0
            distortion = DISTORTION * estimated[max(0, at - REVERBERATION) : at + 1].max()
            exceeding.append(left[at] / (expected[at] + distortion + max(noise, WINDOW * _FLOOR)))
        return np.asarray(10 * np.log10(np.array(exceeding) + 1e-12))

    def again(self) -> None:
        """Learn the path anew from what is kept of this turn, and clean the last of that with what is known now."""
        self._look()
        if self._path is not None:
            for at in range(max(0, len(self._blocks) - AGAIN), len(self._blocks)):
                self._clean(at)

    def recent(self, samples: int) -> Samples:
        """The last samples, cleaned, FP32 [samples]; fewer where the turn is not as old. To be called once a window was whole."""
        return np.concatenate([block.cleaned for block in self._blocks])[-samples:]

    def _push_block(self, heard: Samples, played: Samples) -> Samples:
        older = self._blocks[-1].played_emphasised if self._blocks else np.zeros(BLOCK)
        heard_emphasised, self._heard_end = _emphasised(heard, self._heard_end)
        newer, self._played_end = _emphasised(played, self._played_end)
        self._blocks.append(_Block(heard, heard, heard_emphasised, newer, spectrum_of(older, newer)))
        if float(np.mean(np.square(played))) >= QUIET:
            self._sounding += 1
            if self._sounding >= self._next_look:
                self._next_look = max(self._sounding + 4, int(self._sounding * MORE))
                self._look()
        self._clean(len(self._blocks) - 1)
        return self._blocks[-1].cleaned

    def _look(self) -> None:
        """Look for the delay; once it is sure, follow the path through all that is kept but the newest block."""
        played = np.concatenate([block.played_emphasised for block in self._blocks])
        if not played.any():
            return
        heard = np.concatenate([block.heard_emphasised for block in self._blocks])
        found = max(0, find_delay(played, heard) - EARLY) // BLOCK
        unknown = self._path is None and self._sounding >= SURE_BLOCKS
        sure, self._found = unknown or abs(found - self._found) <= 1, found
        own = np.mean([_power(_alone(block.heard_emphasised)) for block in self._blocks], axis=0)
        own = np.convolve(np.pad(own, 8, mode="edge"), np.ones(17) / 17, mode="valid")
        gain = 2 * float(own.sum() / np.mean([_power(block.played_spectrum) for block in self._blocks], axis=0).sum())
        if sure and abs(found - self._delay) > 1:
            self._delay, self._path = found, EchoPath(gain, own)
        if self._path is not None:
            self._path.doubt(gain, own)
            for at in range(len(self._blocks) - 1):
                self._step(at, twice=True)

    def _clean(self, at: int) -> None:
        """Subtract the echo from a block, and keep what is left of it."""
        block, left = self._blocks[at], self._step(at, twice=False)
        block.left = float(_WEIGHTS @ left.error)
        block.expected = float(_WEIGHTS @ left.expected)
        block.estimated = float(_WEIGHTS @ left.estimated)
        if left.echo.any():
            before = self._blocks[at - 1].echo_end if at else 0.0
            echo = np.convolve(left.echo, _DECAY)[:BLOCK] + EMPHASIS * before * _DECAY
            most = max(1.0, float(np.abs(block.heard).max()))  # a wrong echo may be louder than what was heard
            cleaned = np.clip(block.heard - echo, -most, most)
            block.cleaned, block.echo_end = cleaned.astype(np.float32), float(echo[-1])
        else:
            block.cleaned, block.echo_end = block.heard, 0.0

    def _step(self, at: int, *, twice: bool) -> Left:
        block, none = self._blocks[at], np.zeros(BINS)
        newest = at - max(0, self._delay)
        places = range(newest, newest - PARTITIONS, -1)
        played = np.stack([self._blocks[place].played_spectrum if place >= 0 else _NOTHING for place in places])
        if self._path is not None and played.any():
            return self._path.step(played, block.heard_emphasised, twice=twice)
        expected = none
        if self._path is None:
            possible = [_power(self._blocks[place].played_spectrum) for place in range(max(0, at - REACH), at + 1)]
            expected = np.max(possible, axis=0) / 2
        return Left(np.zeros(BLOCK), _power(_alone(block.heard_emphasised)), expected, none)


def _emphasised(samples: Samples, before: float) -> tuple[Real, float]:
    """Return samples [n] less a part of the sample before each, and the last sample."""
    shifted = np.concatenate([[before], samples[:-1]])
    return samples - EMPHASIS * shifted, float(samples[-1])


def _alone(block: Real) -> Spectrum:
    return spectrum_of(np.zeros(BLOCK), block)


def _power(spectrum: Spectrum) -> Real:
    return np.asarray(spectrum.real**2 + spectrum.imag**2)
