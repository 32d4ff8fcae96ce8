"""Audio files of any format, rate and channel count as mono float32 at one rate, and what is wrong with them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from .decode import MAX_HOURS, Block, Source, opened
from .errors import InputError

Samples = npt.NDArray[np.float32]
"""Mono audio [n] in -1..1."""
Pcm = npt.NDArray[np.int16]
"""Mono audio [n] in 16-bit integers."""

PUSHED = np.dtype(np.int16), np.dtype(np.float32)
"""What `push` takes; as types they would be made dtypes each time."""
SAMPLE_RATE = 16_000  # Hz, the rate of every published streaming FastConformer
INT16_FULL_SCALE = 32768.0
_INT16_STEP = np.float32(1 / INT16_FULL_SCALE)  # exact: a power of two
MAX_LEVEL = 4.0  # 12 dB over full scale: no lossy codec or filter overshoots so far
FULL_SCALE = 0.999  # magnitude of a sample that is clipped
CLIPPED_SHARE = 1e-3  # of the samples, at most
SILENT_DBFS = -60.0  # root mean square
MAX_DC = 0.05  # of full scale
CANCELLED = 0.1  # of the power that the average of channels without relation has


@dataclass(frozen=True)
class Recording:
    """The audio of a file."""

    samples: Samples
    """Within -1..1: what a lossy codec or the resampling filter overshoots is clipped."""
    fault: str
    """Why it is not the whole recording, such as a cut-off file; empty: nothing says so."""
    warnings: tuple[str, ...]
    """What else may spoil recognition: channels that cancel each other, clipping, an offset, silence."""


class _Levels:
    """What the blocks of a file add up to."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.samples = 0
        self._broken = 0
        self._clipped = self._mean = self._mean_square = 0.0
        self._squares = np.zeros(1)  # by channel

    def add(self, block: Block, mono: Samples) -> None:
        """Add a block and its mono samples. Raises InputError for samples that are not on a scale of -1..1."""
        self.samples += len(mono)
        self._broken += np.count_nonzero(~np.isfinite(mono))
        if self._broken:
            return
        check_level(block, self._name)
        self._clipped += np.count_nonzero(np.abs(block) >= FULL_SCALE) / block.shape[1]
        self._mean += float(mono.sum(dtype=np.float64))
        self._mean_square += float(np.square(mono, dtype=np.float64).sum())
        self._squares = self._squares + np.square(block, dtype=np.float64).sum(axis=0)

    def check(self) -> None:
        """Raise InputError for samples that are not finite, or none."""
        if self._broken:
            raise InputError(f"{self._name}: {self._broken} samples are NaN or infinite; re-record or drop it")

    @property
    def loudest(self) -> int:
        """The channel with the most power."""
        return int(np.argmax(self._squares))

    @property
    def cancelled(self) -> bool:
        """Whether the channels' average has less than a tenth of the power that it would have if they had no relation."""
        channels = len(self._squares)
        return channels > 1 and channels**2 * self._mean_square < CANCELLED * float(self._squares.sum())

    def warnings(self) -> Iterator[str]:
        """Yield what may spoil recognition."""
        power = self._mean_square / max(1, self.samples)
        if power < 10 ** (SILENT_DBFS / 10):
            yield f"it is silent: {10 * np.log10(power + 1e-20):.0f} dBFS, where speech has about -25"
        if self._clipped > CLIPPED_SHARE * self.samples:
            yield f"{self._clipped / self.samples:.1%} of its samples are clipped; record it at a lower level"
        if abs(self._mean) > MAX_DC * self.samples:
            yield f"its samples are off centre by {self._mean / self.samples:+.2f} of full scale"


def read_audio(source: str | os.PathLike[str] | BinaryIO, sample_rate: int = SAMPLE_RATE) -> Recording:
    """Decode a file, average its channels and resample it with soxr's HQ setting.

    Block by block: what is allocated follows from what the file holds, not from what its header states. Where the channels cancel
    each other, the loudest alone is taken.

    Args:
        source: the audio file, or one that is open for reading bytes and can be sought in.
        sample_rate: the wanted rate in Hz.

    Returns:
        The samples [n], float32, and what is wrong with them.

    Raises:
        InputError: the file is missing, is not audio, has no samples, or has samples that are NaN, infinite or not on a scale of
            -1..1; its rate is out of `decode.RATES`, or it is longer than `decode.MAX_HOURS`.
    """
    samples, fault, levels = _read(source, sample_rate, None)
    warnings: tuple[str, ...] = ()
    if levels.cancelled:
        channel = levels.loudest
        samples, fault, levels = _read(source, sample_rate, channel)
        warnings = (f"its channels cancel each other; channel {channel + 1} alone is taken",)
    return Recording(samples, fault, (*warnings, *levels.warnings()))


def load_audio(path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE) -> Samples:
    """Return the samples of a whole recording, float32 [n] in -1..1, as `read_audio` does.

    Raises:
        InputError: as `read_audio` does, and for a recording that is not whole.
    """
    recording = read_audio(path, sample_rate)
    if recording.fault:
        raise InputError(f"{shown_name(path)}: {recording.fault}; re-record or drop it")
    return recording.samples


def _read(
    source: str | os.PathLike[str] | BinaryIO, sample_rate: int, channel: int | None
) -> tuple[Samples, str, _Levels]:
    """Return one channel's samples, or for None their average's, with the file's fault and levels."""
    import soxr

    with _opened(source) as (file, name):
        levels, parts = _Levels(name), list[Samples]()
        resampler = soxr.ResampleStream(file.rate, sample_rate, 1, dtype="float32", quality="HQ")
        for block in file.blocks:
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is counted
                mono = block.mean(axis=1) if channel is None else block[:, channel].copy()
            levels.add(block, mono)
            if levels.samples > MAX_HOURS * 3600 * file.rate:
                raise InputError(f"{name}: expected at most {MAX_HOURS:g} hours of audio, found more; cut it")
            parts.append(resampler.resample_chunk(mono))
    levels.check()
    if file.fault and not levels.samples:
        raise InputError(f"{name}: {file.fault}; re-record or drop it")
    parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    samples = np.concatenate(parts)
    if samples.size == 0:
        held = f"its {levels.samples} samples at {file.rate} Hz are none at {sample_rate} Hz"
        raise InputError(f"{name}: {held if levels.samples else 'audio of zero length'}; drop the file")
    return np.clip(samples, -1.0, 1.0, out=samples), file.fault, levels


def check_level(samples: npt.NDArray[np.float32], name: str = "") -> None:
    """Raise InputError for finite samples far beyond -1..1, as integers turned into floats are; `name`: the file's."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > MAX_LEVEL:
        where = f"{name}: " if name else ""
        raise InputError(f"{where}expected samples in -1..1, found up to {peak:,.0f}; divide 16-bit samples by 32,768")


def checked(samples: object) -> Samples:
    """Return mono samples [n] as FP32 in -1..1.

    Raises InputError for another type or shape than `push` takes, and for values that are not finite or far beyond that scale.
    """
    if not isinstance(samples, np.ndarray) or isinstance(samples, np.ma.MaskedArray) or samples.dtype not in PUSHED:
        found = samples.dtype if type(samples) is np.ndarray else type(samples).__name__
        raise InputError(
            f"expected samples as a numpy array of float32 or int16, found {found}; convert them first, bytes of 16-bit PCM by "
            f"np.frombuffer(data, np.int16)"
        )
    if samples.ndim != 1:
        raise InputError(f"expected mono samples of shape [n], found {list(samples.shape)}; average the channels first")
    if samples.dtype == PUSHED[0]:
        return samples * _INT16_STEP
    if np.abs(samples).max(initial=0.0) <= MAX_LEVEL:  # of what is no number this is not so
        return samples
    if not np.isfinite(samples).all():
        raise InputError(
            f"expected finite samples, found {int((~np.isfinite(samples)).sum())} NaN or infinite of {len(samples)}; "
            f"check the audio source"
        )
    check_level(samples)
    return samples


def audio_seconds(path: Path) -> float:
    """Return the length of an audio file in seconds, from its header where that states one. Raises InputError as `load_audio` does."""
    with _opened(path) as (file, _):
        stated = file.stated
        return float((sum(map(len, file.blocks)) if stated is None else stated) / file.rate)


def audio_rate(path: Path) -> int:
    """Return the sample rate of an audio file in Hz, from its header. Raises InputError as `load_audio` does, samples unseen."""
    with _opened(path) as (file, _):
        return file.rate


@contextmanager
def _opened(source: str | os.PathLike[str] | BinaryIO) -> Iterator[tuple[Source, str]]:
    """Open the audio of a file; with the name that messages call it by."""
    if not isinstance(source, (str, os.PathLike)):
        with opened(source, "standard input") as audio:
            yield audio, "standard input"
        return
    path, name = Path(source), shown_name(source)
    if os.path.isdir(path):  # noqa: PTH112 -- Path.is_dir raises for a name that is too long
        raise InputError(f"{name}: expected an audio file, found a folder; name the files in it")
    if not os.path.isfile(path):  # noqa: PTH113
        raise InputError(f"{name}: no such audio file")
    if not path.stat().st_size:
        raise InputError(f"{name}: expected audio, found an empty file; record it again")
    with path.open("rb") as file, opened(file, name) as audio:
        yield audio, name


def shown_name(path: str | os.PathLike[str]) -> str:
    """What messages call a file: one line of what a terminal shows."""
    name = os.fspath(path)
    return name if name.isprintable() else ascii(name)
