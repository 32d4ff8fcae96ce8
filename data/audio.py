"""Audio files of any rate, channel count and format that libsndfile reads, as mono float32 at one rate."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from runtime.errors import InputError

SAMPLE_RATE = 16_000  # Hz, the rate of every published streaming FastConformer


def load_audio(path: Path, sample_rate: int = SAMPLE_RATE) -> npt.NDArray[np.float32]:
    """Decode a file (WAV, FLAC, OGG, MP3, ...), average its channels and resample it with soxr's HQ setting.

    Args:
        path: the audio file.
        sample_rate: the wanted rate in Hz.

    Returns:
        float32 [samples], within -1..1: what a lossy codec or the resampling filter overshoots is clipped.

    Raises:
        InputError: the file is missing, is not audio, has no samples, or has NaN or infinite samples.
    """
    with _opened(path) as file:
        rate = file.samplerate
        samples = file.read(dtype="float32", always_2d=True).mean(axis=1)  # [frames, channels] -> [frames]
    if not np.isfinite(samples).all():
        raise InputError(
            f"{path}: {np.count_nonzero(~np.isfinite(samples))} samples are NaN or infinite; re-record or drop it"
        )
    resampled: npt.NDArray[np.float32] = soxr.resample(samples, rate, sample_rate, quality="HQ")
    if resampled.size == 0:
        raise InputError(f"{path}: its {samples.size} samples at {rate} Hz are none at {sample_rate} Hz; drop the file")
    return np.clip(resampled, -1.0, 1.0)


def audio_seconds(path: Path) -> float:
    """Length of an audio file in seconds, from its header. Raises InputError as `load_audio` does, samples unseen."""
    with _opened(path) as file:
        return float(file.frames / file.samplerate)


def audio_rate(path: Path) -> int:
    """Sample rate of an audio file in Hz, from its header. Raises InputError as `load_audio` does, samples unseen."""
    with _opened(path) as file:
        return int(file.samplerate)


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    if not path.is_file():
        raise InputError(f"{path}: no such audio file")
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a name ending in .raw, which has no header
        raise InputError(f"{path}: not audio that libsndfile reads; convert it to WAV, FLAC, OGG or MP3") from error
    with file:
        if file.frames == 0:
            raise InputError(f"{path}: audio of zero length; drop the file")
        try:
            yield file
        except soundfile.SoundFileError as error:
            raise InputError(f"{path}: damaged audio, libsndfile stopped: {error}") from error
