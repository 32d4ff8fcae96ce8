"""Frames to push from a file or from standard input, which is raw PCM as it comes, or an audio file to its end."""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import numpy as np

from .audio import Pcm, Samples, read_audio, shown_name
from .decode import MAGIC_BYTES, RATES, is_audio_file, is_live
from .errors import InputError
from .live import paced

MAX_PIPED_BYTES = 4 << 30  # 4 hours of stereo at 48 kHz are 2.8
COPIED_BYTES = 1 << 20  # at once
Warn = Callable[[str], None]
"""Takes a line of what is wrong with a recording."""


@dataclass(frozen=True)
class Framing:
    """How audio is cut and paced."""

    sample_rate: int
    """The bundle's, in Hz."""
    frame_ms: int
    """Length of a frame in ms."""
    realtime: bool = False
    """Files at the pace of speech."""

    @property
    def samples(self) -> int:
        """Length of a frame in samples."""
        return self.sample_rate * self.frame_ms // 1000


def file_frames(source: str | BinaryIO, framing: Framing, warn: Warn) -> Iterator[Samples]:
    """Yield the frames FP32 [n] of a file's name, or of one that is open; what is wrong with it goes to `warn`.

    Raises InputError as `read_audio` does.
    """
    recording = read_audio(source, framing.sample_rate)
    for line in filter(None, (recording.fault, *recording.warnings)):
        warn(f"warning: {shown_name(source) if isinstance(source, str) else 'standard input'}: {line}")
    starts = range(0, len(recording.samples), framing.samples)
    frames: Iterable[Samples] = (recording.samples[start : start + framing.samples] for start in starts)
    yield from paced(frames, framing.frame_ms / 1e3) if framing.realtime else frames


def stdin_frames(stdin: io.BufferedReader, rate: int | None, framing: Framing, warn: Warn) -> Iterator[Samples | Pcm]:
    """Yield the frames [n] of standard input; `rate` in Hz: it is raw mono PCM, s16le; None: that at the bundle's rate, or an audio file.

    Raises InputError as `read_audio` does, for a rate out of `RATES`, for an odd number of bytes, and for more than `MAX_PIPED_BYTES`.
    """
    head = stdin.read(MAGIC_BYTES) if rate is None else b""
    if not is_audio_file(head):
        yield from _pcm_frames(stdin, head, framing.sample_rate if rate is None else rate, framing)
        return
    if is_live(head):
        warn("standard input is a WAV of unknown length, recognised once it ends; raw PCM is recognised as it comes")
    with TemporaryFile() as file:  # decoders seek
        file.write(head)
        while piece := stdin.read(COPIED_BYTES):
            file.write(piece)
            if file.tell() > MAX_PIPED_BYTES:
                raise InputError(
                    f"expected at most {MAX_PIPED_BYTES >> 30} GB on standard input, found more; name the file"
                )
        try:
            yield from file_frames(cast("BinaryIO", file), framing, warn)
        except InputError as error:
            raise InputError(f"{error}; if it is raw PCM that begins as a file does, say so with --rate") from error


def _pcm_frames(stdin: io.BufferedReader, head: bytes, rate: int, framing: Framing) -> Iterator[Samples | Pcm]:
    import soxr

    low, high = RATES
    if not low <= rate <= high:
        raise InputError(f"expected --rate in {low}..{high}, found {rate}; 16000 is usual")
    resampler = None if rate == framing.sample_rate else soxr.ResampleStream(rate, framing.sample_rate, 1, "int16")
    frame, rest = max(1, rate * framing.frame_ms // 1000), b""
    # As it comes: a live source is not held back until a frame is full.
    for read in chain([head], iter(lambda: stdin.read1(2 * frame), b"")):
        rest += read
        pcm = np.frombuffer(rest[: len(rest) // 2 * 2], "<i2").astype(np.int16)
        rest = rest[2 * len(pcm) :]
        yield pcm if resampler is None else resampler.resample_chunk(pcm)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.int16), last=True)
    if rest:
        raise InputError(
            f"expected 16-bit samples on standard input, found an odd number of bytes; send raw mono PCM, s16le, {rate} Hz"
        )
