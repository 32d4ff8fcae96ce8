"""A client's audio, as it comes in messages, to samples at 16 kHz."""

from typing import Literal, cast

import av
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, model_validator
from typing_extensions import Self

from runtime.errors import InputError
from runtime.vad import SAMPLE_RATE

G711 = {"audio/pcmu": "pcm_mulaw", "audio/pcma": "pcm_alaw"}
"""FFmpeg's names."""
Samples = npt.NDArray[np.int16] | npt.NDArray[np.float32]


class SoundFormat(BaseModel):
    """How a client's samples are written: mono, 16 bits little endian at 24 or 16 kHz, or G.711 at 8 kHz."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: Literal[24_000, 16_000, 8_000] | None = None
    """In Hz; None: 24,000, and 8,000 for G.711."""

    @model_validator(mode="after")
    def _a_rate_that_goes_with_it(self) -> Self:
        if (self.rate == 8_000) != (self.type in G711) and self.rate is not None:
            raise ValueError(
                f"expected audio/pcm at 24000 or 16000 Hz or G.711 at 8000, found {self.type} at {self.rate}"
            )
        return self

    @property
    def hz(self) -> int:
        """Samples a second."""
        return self.rate or (8_000 if self.type in G711 else 24_000)

    @property
    def sample_bytes(self) -> int:
        """Bytes of a sample."""
        return 1 if self.type in G711 else 2


class Sound:
    """One client's audio, in order. Resampled by FFmpeg's libswresample, which holds back 1 to 2 ms."""

    def __init__(self, sound_format: SoundFormat) -> None:
        self._format = sound_format
        codec = G711.get(sound_format.type)
        self._decoder = cast("av.AudioCodecContext", av.CodecContext.create(codec, "r")) if codec else None
        if self._decoder:
            self._decoder.sample_rate, self._decoder.layout = sound_format.hz, "mono"
        self._resamples = sound_format.hz != SAMPLE_RATE
        self._resampler = _resampler()

    def push(self, data: bytes) -> Samples:
        """Return the samples [n] at 16 kHz that are known with these bytes. Raises InputError for a part of a sample."""
        if len(data) % self._format.sample_bytes:
            raise InputError(f"expected whole samples of 2 bytes, found {len(data)} bytes; send an even number")
        if not data:
            return np.zeros(0, np.int16)
        if self._decoder:
            return self._resampled(self._decoder.decode(av.Packet(data)))
        pcm = np.frombuffer(data, "<i2")
        if not self._resamples:
            return pcm
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = self._format.hz
        return self._resampled([frame])

    def flush(self) -> Samples:
        """Return what was held back; what is pushed next begins anew."""
        if not self._resamples:
            return np.zeros(0, np.int16)
        left = self._resampled([None])
        self._resampler = _resampler()
        return left

    def _resampled(self, frames: list[av.AudioFrame] | list[None]) -> npt.NDArray[np.float32]:
        found = [part.to_ndarray()[0] for frame in frames for part in self._resampler.resample(frame)]
        return np.concatenate(found) if found else np.zeros(0, np.float32)


def _resampler() -> av.AudioResampler:
    return av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
