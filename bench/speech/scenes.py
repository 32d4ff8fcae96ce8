"""Scenes of a user who interrupts an agent, or does not: both voices, the room between loudspeaker and microphone, drawn at random."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.speech.clips import Audio, Clip

Kind = Literal["user", "echo", "bursts", "silence"]

AGENT_DBFS = -20.0
"""RMS of what is played."""
NOISE_DBFS = -70.0
"""RMS of the microphone's own noise."""
ATTENUATIONS_DB = (10, 20, 30)
"""How far the echo lies below what is played."""
LEVELS_DBFS = (-32, -26, -20)
"""RMS of the user's speech."""
DELAY_MS = (20, 200)
ROOM_MS = 60
"""Length of the room's response; it decays by 60 dB."""
START_S = (1.0, 10.0)
"""Start of the user's clip, after the agent's first word: the canceller begins with nothing learned."""
ALONE_S = 10.0
"""Length of a scene without a user."""
BURST_MS = (60, 250)
"""Length of a cough or a clap."""
BURST_HZ = (200, 4000)
BURST_EVERY_S = 2.0

DEFINITION = (
    f"agent: speech at {AGENT_DBFS:g} dBFS, played from the scene's start; echo: delayed {DELAY_MS[0]} to {DELAY_MS[1]} ms, a response of "
    f"{ROOM_MS} ms of noise that decays by 60 dB, {'/'.join(map(str, ATTENUATIONS_DB))} dB below; user: a clip at "
    f"{'/'.join(map(str, LEVELS_DBFS))} dBFS, {START_S[0]:g} to {START_S[1]:g} s later; noise at {NOISE_DBFS:g} dBFS; without a user "
    f"{ALONE_S:g} s of echo alone, echo with bursts of noise ({BURST_MS[0]} to {BURST_MS[1]} ms, {BURST_HZ[0]} to {BURST_HZ[1]} Hz, at a "
    f"user's level, one in {BURST_EVERY_S:g} s), or neither (headphones)"
)


@dataclass(frozen=True)
class Scene:
    """What is played and what the microphone hears beside its echo, FP32 [n] each at one rate."""

    kind: Kind
    attenuation_db: int
    level_dbfs: int
    user: Clip | None
    user_start: int
    """Sample at which the user's clip begins."""
    played: Audio
    heard: Audio
    room: Audio = field(repr=False)
    """Response from loudspeaker to microphone, delay and attenuation included."""

    def microphone(self, stopped: int | None = None) -> Audio:
        """Return what it hears where the agent is stopped at that sample."""
        played = self.played.copy()
        if stopped is not None:
            played[stopped:] = 0.0
        size = len(played) + len(self.room) - 1
        echo = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(self.room, size), size)[: len(played)]
        return (self.heard + echo).astype(np.float32)


def scenes(agent: Sequence[Clip], user: Sequence[Clip], each: int, seed: int) -> Iterator[Scene]:
    """Yield `each` interruptions at every attenuation and level, and as many scenes of every other kind at every attenuation."""
    rng = np.random.default_rng(seed)
    rate = agent[0].sample_rate
    others: tuple[Kind, ...] = ("echo", "bursts", "silence")
    drawn: list[tuple[Kind, int | None]] = [
        *(("user", level) for level in LEVELS_DBFS),
        *((kind, None) for kind in others),
    ]
    for attenuation_db, (kind, level), _ in product(ATTENUATIONS_DB, drawn, range(each)):
        level_dbfs = int(rng.choice(LEVELS_DBFS)) if level is None else level
        clip = user[int(rng.integers(len(user)))] if kind == "user" else None
        start = int(rng.uniform(*START_S) * rate)
        length = int(ALONE_S * rate) if clip is None else start + len(clip.samples)
        played = _levelled(_speech(agent, length, rng), AGENT_DBFS)
        heard = _levelled(rng.standard_normal(length), NOISE_DBFS)
        if clip is not None:
            heard[start:] += _levelled(clip.samples, level_dbfs)
        if kind == "bursts":
            for begin in range(rate, length - rate, int(BURST_EVERY_S * rate)):
                burst = _levelled(_burst(rate, rng), level_dbfs)
                heard[begin : begin + len(burst)] += burst
        room = np.zeros(1, np.float32) if kind == "silence" else _room(attenuation_db, rate, rng)
        yield Scene(kind, attenuation_db, level_dbfs, clip, start, played, heard, room)


def _speech(clips: Sequence[Clip], length: int, rng: np.random.Generator) -> Audio:
    pieces: list[Audio] = []
    while sum(map(len, pieces)) < length:
        pieces.append(clips[int(rng.integers(len(clips)))].samples)
    return np.concatenate(pieces)[:length]


def _burst(rate: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return noise in a band that decays by 30 dB."""
    length = int(rng.uniform(*BURST_MS) * rate / 1000)
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.fft.rfftfreq(length, 1 / rate)
    spectrum[(frequency < BURST_HZ[0]) | (frequency > BURST_HZ[1])] = 0.0
    return np.asarray(np.fft.irfft(spectrum, length) * 10 ** np.linspace(0, -1.5, length))


def _room(attenuation_db: int, rate: int, rng: np.random.Generator) -> Audio:
    length = ROOM_MS * rate // 1000
    response = rng.standard_normal(length) * 10 ** np.linspace(0, -3, length)
    response *= 10 ** (-attenuation_db / 20) / np.sqrt(np.sum(response**2))
    delay = int(rng.uniform(*DELAY_MS) * rate / 1000)
    return np.concatenate([np.zeros(delay, np.float32), response.astype(np.float32)])


def _levelled(samples: npt.NDArray[np.floating], dbfs: float) -> Audio:
    rms = np.sqrt(np.mean(np.square(samples)))
    levelled: Audio = (samples * (10 ** (dbfs / 20) / max(rms, 1e-9))).astype(np.float32)
    return levelled
