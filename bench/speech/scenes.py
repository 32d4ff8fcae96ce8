"""Scenes of a user who interrupts an agent, or does not: both voices, the room between loudspeaker and microphone, drawn at random."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.speech.clips import Audio, Clip, seeded
from data.voiced import Speech

Kind = Literal["user", "echo", "bursts"]
Voice = tuple[Clip, Speech]
"""A clip and where speech lies in it."""

AGENT_DBFS = -20.0
"""RMS of the speech that is played."""
NOISE_DBFS = -70.0
"""RMS of the microphone's own noise."""
STARTS_S = ((0.0, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 5.0), (5.0, 10.0))
"""Onset of the user's speech after the agent's: the canceller begins with nothing learned."""
ATTENUATIONS_DB = (10, 20, 30, None)
"""How far the echo lies below what is played; None: a headset, without echo."""
LEVELS_DBFS = (-32, -26, -20)
"""RMS of the user's speech."""
DELAY_MS = (20, 200)
ROOM_MS = 60
"""Length of the room's response; it decays by 60 dB."""
ALONE_S = 10.0
"""Length of a scene without a user."""
ECHO_SCENES, BURST_SCENES = 24, 6
"""At each attenuation, for each interruption of a kind: an hour of echo alone at five."""
BURST_MS = (60, 250)
"""Length of a cough or a clap."""
BURST_HZ = (200, 4000)
BURST_EVERY_S = 2.0

_STARTS = ", ".join(f"{low:g} to {high:g}" for low, high in STARTS_S)
_ECHOES, _LEVELS = "/".join(map(str, ATTENUATIONS_DB[:-1])), "/".join(map(str, LEVELS_DBFS))
DEFINITION = (
    f"agent: speech at {AGENT_DBFS:g} dBFS from the scene's first sample on; echo: delayed {DELAY_MS[0]} to {DELAY_MS[1]} ms, a response "
    f"of {ROOM_MS} ms of noise that decays by 60 dB, {_ECHOES} dB below, or none (headset); user: a clip whose speech is at {_LEVELS} dBFS "
    f"and begins {_STARTS} s after the agent; noise at {NOISE_DBFS:g} dBFS; without a user {ALONE_S:g} s of echo alone, or with bursts of "
    f"noise ({BURST_MS[0]} to {BURST_MS[1]} ms, {BURST_HZ[0]} to {BURST_HZ[1]} Hz, at a user's level, one in {BURST_EVERY_S:g} s)"
)


@dataclass(frozen=True)
class Scene:
    """What is played and what the microphone hears beside its echo, FP32 [n] each at one rate."""

    kind: Kind
    attenuation_db: int | None
    level_dbfs: int
    user: Clip | None
    onset: int
    """Sample at which the user's speech begins; without a user the scene's end."""
    played: Audio
    heard: Audio
    room: Audio = field(repr=False)
    """Response from loudspeaker to microphone, delay and attenuation included."""

    def microphone(self, stopped: int | None = None) -> Audio:
        """Return what it hears where the agent is stopped at that sample."""
        played = self.played.copy()
        if stopped is not None:
            played[stopped:] = 0.0
        size = 1 << (len(played) + len(self.room)).bit_length()
        echo = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(self.room, size), size)[: len(played)]
        return (self.heard + echo).astype(np.float32)


def scenes(agents: Sequence[Voice], users: Sequence[Voice], each: int, seed: int) -> Iterator[Scene]:
    """Yield `each` interruptions at every start, attenuation and level, and the scenes without a user that belong to them."""
    rng = seeded(seed)
    for start_s, attenuation_db, level_dbfs, _ in product(STARTS_S, ATTENUATIONS_DB, LEVELS_DBFS, range(each)):
        clip, speech = users[int(rng.integers(len(users)))]
        rate = clip.sample_rate
        onset, before = int(rng.uniform(*start_s) * rate), int(speech.onset_s * rate)
        spoken = _spoken((clip, speech), level_dbfs)[max(0, before - onset) :]  # what is before the scene is cut off
        begin = max(0, onset - before)
        heard = _levelled(rng.standard_normal(begin + len(spoken)), NOISE_DBFS)
        heard[begin:] += spoken
        played, room = _speech(agents, len(heard), rng), _room(attenuation_db, rate, rng)
        yield Scene("user", attenuation_db, level_dbfs, clip, onset, played, heard, room)
    rate = agents[0][0].sample_rate
    length = int(ALONE_S * rate)
    without: list[tuple[Kind, int | None]] = [("echo", echo) for echo in ATTENUATIONS_DB[:-1] * ECHO_SCENES]
    without += [("bursts", echo) for echo in ATTENUATIONS_DB * BURST_SCENES]
    for kind, attenuation_db in without * each:
        level_dbfs = int(rng.choice(LEVELS_DBFS))
        heard = _levelled(rng.standard_normal(length), NOISE_DBFS)
        for begin in range(rate, length - rate, int(BURST_EVERY_S * rate)) if kind == "bursts" else ():
            burst = _levelled(_burst(rate, rng), level_dbfs)
            heard[begin : begin + len(burst)] += burst
        played, room = _speech(agents, length, rng), _room(attenuation_db, rate, rng)
        yield Scene(kind, attenuation_db, level_dbfs, None, length, played, heard, room)


def _speech(voices: Sequence[Voice], length: int, rng: np.random.Generator) -> Audio:
    """Return clips of one voice after another, each from its first word to a quarter of a second after its last."""
    pieces: list[Audio] = []
    while sum(map(len, pieces)) < length:
        clip, speech = voices[int(rng.integers(len(voices)))]
        rate = clip.sample_rate
        pieces.append(
            _spoken((clip, speech), AGENT_DBFS)[int(speech.onset_s * rate) : int((speech.end_s + 0.25) * rate)]
        )
    return np.concatenate(pieces)[:length]


def _spoken(voice: Voice, dbfs: float) -> Audio:
    """Return a clip whose speech has that level."""
    clip, speech = voice
    within = clip.samples[int(speech.onset_s * clip.sample_rate) : int(speech.end_s * clip.sample_rate)]
    return clip.samples * np.float32(_gain(within, dbfs))


def _burst(rate: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return noise in a band that decays by 30 dB."""
    length = int(rng.uniform(*BURST_MS) * rate / 1000)
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.fft.rfftfreq(length, 1 / rate)
    spectrum[(frequency < BURST_HZ[0]) | (frequency > BURST_HZ[1])] = 0.0
    return np.asarray(np.fft.irfft(spectrum, length) * 10 ** np.linspace(0, -1.5, length))


def _room(attenuation_db: int | None, rate: int, rng: np.random.Generator) -> Audio:
    if attenuation_db is None:
        return np.zeros(1, np.float32)
    length = ROOM_MS * rate // 1000
    response = rng.standard_normal(length) * 10 ** np.linspace(0, -3, length)
    response *= 10 ** (-attenuation_db / 20) / np.sqrt(np.sum(response**2))
    delay = int(rng.uniform(*DELAY_MS) * rate / 1000)
    return np.concatenate([np.zeros(delay, np.float32), response.astype(np.float32)])


def _levelled(samples: npt.NDArray[np.floating], dbfs: float) -> Audio:
    return (samples * _gain(samples, dbfs)).astype(np.float32)


def _gain(samples: npt.NDArray[np.floating], dbfs: float) -> float:
    return float(10 ** (dbfs / 20) / max(np.sqrt(np.mean(np.square(samples))), 1e-9))
