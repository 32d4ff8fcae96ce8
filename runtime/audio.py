"""Audio files of any channel count and format that libsndfile reads, as mono float32 at one rate."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .errors import InputError

if TYPE_CHECKING:  # not needed where samples come from elsewhere, and imported where files are read
    from soundfile import SoundFile

Samples = npt.NDArray[np.float32]
"""Mono audio [n] in -1..1."""
Pcm = npt.NDArray[np.int16]
"""Mono audio [n] in 16-bit integers."""

SAMPLE_RATE = 16_000  # Hz, the rate of every published streaming FastConformer
RATES = (8_000, 192_000)  # Hz, the lowest and the highest that a file may have
MAX_HOURS = 4.0  # 0.9 GB at 16 kHz
MAX_FRAMES_PER_BYTE = 6_000  # a FLAC of silence, the densest of all, has 65,535 in no less than 11 bytes
MAX_SHORT_S = 0.1  # what an encoder may count, and a decoder not give, at a file's two ends
INT16_FULL_SCALE = 32768.0
BLOCK_SAMPLES = 1 << 20  # of all channels, decoded at once


def load_audio(path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE) -> Samples:
    """Decode a file (WAV, FLAC, OGG, MP3, ...), average its channels and resample it with soxr's HQ setting.

    Block by block: what is allocated follows from what the file holds, not from what its header states.

    Args:
        path: the audio file.
        sample_rate: the wanted rate in Hz.

    Returns:
        float32 [samples], within -1..1: what a lossy codec or the resampling filter overshoots is clipped.

    Raises:
        InputError: the file is missing, is not audio, has no samples, has fewer than its header states, or has NaN or infinite
            samples; its rate is out of `RATES`, or it is longer than `MAX_HOURS`.
    """
    import soxr

    path = Path(path)
    with _opened(path) as file:
        stated, rate, estimated = file.frames, file.samplerate, file.format == "MP3"
        resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
        parts: list[Samples] = []
        held = broken = 0
        for samples in _mono_blocks(file):
            held += samples.size
            broken += np.count_nonzero(~np.isfinite(samples))
            parts.append(resampler.resample_chunk(samples))
    if broken:
        raise InputError(f"{path}: {broken} samples are NaN or infinite; re-record or drop it")
    if stated - held > MAX_SHORT_S * rate and not estimated:  # an MP3's length may be a guess from its size
        raise InputError(f"{path}: its header states {stated} samples, it holds {held}; re-record or drop it")
    parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    resampled = np.concatenate(parts)
    if resampled.size == 0:
        raise InputError(f"{path}: its {held} samples at {rate} Hz are none at {sample_rate} Hz; drop the file")
    return np.clip(resampled, -1.0, 1.0, out=resampled)


def checked(samples: object) -> Samples:
    """Mono samples [n] as FP32 in -1..1. Raises InputError for another type or shape than `push` takes, or values that are not finite."""
    if not isinstance(samples, np.ndarray) or samples.dtype not in (np.float32, np.int16):
        found = samples.dtype if isinstance(samples, np.ndarray) else type(samples).__name__
        raise InputError(f"expected samples as a numpy array of float32 or int16, found {found}; convert them first")
    if samples.ndim != 1:
        raise InputError(f"expected mono samples of shape [n], found {list(samples.shape)}; average the channels first")
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(INT16_FULL_SCALE)
    if not np.isfinite(samples).all():
        raise InputError(
            f"expected finite samples, found {int((~np.isfinite(samples)).sum())} NaN or infinite of {len(samples)}; "
            f"check the audio source"
        )
    return samples


def audio_seconds(path: Path) -> float:
    """Length of an audio file in seconds, from its header. Raises InputError as `load_audio` does, samples unseen."""
    with _opened(path) as file:
        return float(file.frames / file.samplerate)


def audio_rate(path: Path) -> int:
    """Sample rate of an audio file in Hz, from its header. Raises InputError as `load_audio` does, samples unseen."""
    with _opened(path) as file:
        return int(file.samplerate)


def _mono_blocks(file: "SoundFile") -> Iterator[Samples]:
    """The channels' average, [n] a block."""
    frames = max(1, BLOCK_SAMPLES // file.channels)
    while len(block := file.read(frames, dtype="float32", always_2d=True)):  # [n, channels]
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is counted by who reads it
            averaged: Samples = block.mean(axis=1)
        yield averaged


def _check_stated(path: Path, file: "SoundFile") -> None:
    """Raise InputError for a header that states what no file holds, or more than is taken."""
    low, high = RATES
    if not low <= file.samplerate <= high:
        raise InputError(f"{path}: expected a rate of {low} to {high} Hz, found {file.samplerate} Hz; resample it")
    size = path.stat().st_size
    if file.frames > MAX_FRAMES_PER_BYTE * size:  # also a FLAC written to a pipe, which states no length
        raise InputError(
            f"{path}: its header states {file.frames} samples, more than its {size} bytes can hold; encode it again, to a file"
        )
    hours = file.frames / file.samplerate / 3600
    if hours > MAX_HOURS:
        raise InputError(f"{path}: expected at most {MAX_HOURS:g} hours of audio, found {hours:.2f}; cut it")


@contextmanager
def _opened(path: Path) -> Iterator["SoundFile"]:
    import soundfile

    if not path.is_file():
        raise InputError(f"{path}: no such audio file")
    try:
        file = soundfile.SoundFile(path)
    except UnicodeError as error:
        raise InputError(f"{path}: expected a file name in UTF-8; rename the file") from error
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a name ending in .raw, which has no header
        raise InputError(f"{path}: not audio that libsndfile reads; convert it to WAV, FLAC, OGG or MP3") from error
    # Else soundfile seeks after each block, from which MP3 does not go on as it would have.
    file.seekable = lambda: False
    with file:
        if file.frames == 0:
            raise InputError(f"{path}: audio of zero length; drop the file")
        _check_stated(path, file)
        try:
            yield file
        except soundfile.SoundFileError as error:
            raise InputError(f"{path}: damaged audio, libsndfile stopped: {error}") from error
