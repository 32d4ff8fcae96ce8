"""Audio files as blocks of samples, and whether they are whole: libsndfile, and FFmpeg (PyAV) for what it does not know."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from .errors import InputError, imported, install

if TYPE_CHECKING:  # not needed where samples come from elsewhere, and imported where files are read
    from soundfile import SoundFile

Block = npt.NDArray[np.float32]
"""[samples, channels], full scale at -1 and 1."""

RATES = (8_000, 192_000)  # Hz, the lowest and the highest that a file may have
MAX_HOURS = 4.0  # 0.9 GB at 16 kHz
MAX_FRAMES_PER_BYTE = 6_000  # a FLAC of silence, the densest of all, has 65,535 in no less than 11 bytes
MAX_SHORT_S = 0.1  # what an encoder may count, and a decoder not give, at a file's two ends
BLOCK_SAMPLES = 1 << 14  # of all channels, decoded at once; where a FLAC is damaged a block is lost
HEADER_BYTES = 4096  # a file without samples has no more
OGG_PAGE_BYTES = 65_307  # at most

LIBSNDFILE = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3"})
"""What libsndfile reads; of its other formats it does not tell a whole file from one that is cut off."""
MALFORMED = 3  # SF_ERR_MALFORMED_FILE
CHUNKED = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF"})
"""Those in which other chunks may follow the samples."""
DEMUXERS = "mov,matroska,webm,aac,amr,asf,ac3,eac3,wav,w64,aiff,au,caf,flac,ogg,mp3,nistsphere,voc,ircam,ape,tta,wv,mpegts,flv,avi"
"""Those of FFmpeg that are used: none of them opens other files, as playlists do."""
UNCOUNTED = frozenset({"mp3", "aac"})
"""Those of which FFmpeg only guesses a length, from the size and the first frame's rate: frames in a row, each with its own size."""
MAGIC = re.compile(
    rb"RIF[FX]|RF64|riff|FORM|\.snd|caff|fLaC|OggS|ID3|#!AMR|NIST_1A|\x1aE\xdf\xa3|0&\xb2u|.{4}ftyp|\xff[\xfa\xfb\xf2\xf3\xf1\xf9]",
    re.DOTALL,
)
"""How files begin; the last, MP3 and AAC without a header, are two bytes that raw PCM seldom begins with."""
MAGIC_BYTES = 12
FRAME_HEADER_BYTES = 6
LEAST_FRAME_BYTES = 24  # of MP3: 8 kbit/s at 24 kHz
V1_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
V2_KBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
"""Bit rates of MP3 by their code in a frame's header: of MPEG 1, and of MPEG 2 and 2.5 (ISO 11172-3, 13818-3); 0: none stated."""
V1_RATES = (44_100, 48_000, 32_000, 0)
"""Sample rates of MPEG 1 by code; of 2 the half, of 2.5 a quarter."""
# What libsndfile's log says of a chunk's size and of what is there. Programs that write to a pipe state 2 GB or more.
_STATED = re.compile(
    r"(\d+) \(should be (\d+)\)|Calculated frame count (\d+) does not match value from 'ds64' chunk of (\d+)"
)
_PIPE_BYTES = (1 << 31) - (1 << 16)


@dataclass
class Source:
    """The audio of a file that is open."""

    rate: int
    """In Hz."""
    stated: int | None
    """Samples of each channel that the header promises; None: it promises no length."""
    blocks: Iterator[Block]
    """The samples, in order; where the file is damaged they end."""
    fault: str = ""
    """Why this is not the whole recording, known once the blocks are read. Empty: nothing says so."""


def is_audio_file(head: bytes) -> bool:
    """Return whether bytes, the first MAGIC_BYTES, begin an audio file; raw samples seldom do."""
    return MAGIC.match(head) is not None


def is_live(head: bytes) -> bool:
    """Return whether bytes, the first MAGIC_BYTES, begin a WAV whose length its program does not know."""
    return head[:4] == b"RIFF" and int.from_bytes(head[4:8], "little") >= _PIPE_BYTES


class _Bytes:
    """A file for decoders: without a name to guess by, and -1 for a seek to before its beginning, as damage asks for and PyAV prints."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


@contextmanager
def opened(file: BinaryIO, name: str) -> Iterator[Source]:
    """Open the audio of a file that can be sought in; `name` is what messages call it.

    Raises:
        InputError: it is not audio, has no samples or states more than it can hold; its rate is out of `RATES`, or it states more
            than `MAX_HOURS`.
    """
    held = _Bytes(file)
    size = held.seek(0, os.SEEK_END)
    sound, fault = _sound_file(held, size)
    with _libsndfile(sound, held, size) if sound else _ffmpeg(held, name, fault) as source:
        low, high = RATES
        if source.stated == 0:
            raise InputError(f"{name}: audio of zero length; drop the file")
        if not low <= source.rate <= high:
            raise InputError(f"{name}: expected a rate of {low} to {high} Hz, found {source.rate} Hz; resample it")
        if (source.stated or 0) > MAX_FRAMES_PER_BYTE * size:
            raise InputError(
                f"{name}: its header states {source.stated} samples, more than its {size} bytes can hold; encode it again"
            )
        hours = (source.stated or 0) / source.rate / 3600
        if hours > MAX_HOURS:
            raise InputError(f"{name}: expected at most {MAX_HOURS:g} hours of audio, found {hours:.2f}; cut it")
        yield source


def _sound_file(file: _Bytes, size: int) -> tuple["SoundFile | None", str]:
    """Open the file with libsndfile; None and its fault for what FFmpeg shall read, also a recording whose header was never completed."""
    import soundfile

    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.LibsndfileError as error:
        return None, "its header does not fit what it holds" if error.code == MALFORMED else ""
    # libsndfile reads an MP3 that does not count its frames as far as it guesses from the first one, which is right at a constant rate.
    variable = sound.format == "MP3" and not _counts_frames(file) and len({rate for rate, _ in _mp3_frames(file)}) > 1
    if sound.format in LIBSNDFILE and (sound.frames or size <= HEADER_BYTES) and not (variable and find_spec("av")):
        return sound, ""
    sound.close()
    return None, ""


@contextmanager
def _libsndfile(sound: "SoundFile", file: _Bytes, size: int) -> Iterator[Source]:
    import soundfile

    unknown = sound.frames == np.iinfo(np.int64).max or (sound.format == "MP3" and not _counts_frames(file))
    stated = None if unknown else sound.frames
    most = max(1, BLOCK_SAMPLES // sound.channels)

    def blocks() -> Iterator[Block]:
        held = 0
        try:  # no more is asked for than is stated, so that the place it stops at tells what follows
            while len(block := sound.read(min(most, (stated or most + held) - held), "float32", always_2d=True)):
                held += len(block)
                yield block
        except soundfile.SoundFileError as error:
            source.fault = f"damaged audio, libsndfile stopped: {error}"
        else:
            source.fault = _fault(sound, stated, held, file, size)
            if sound.format == "MP3" and not source.fault:
                end = max((end for _, end in _mp3_frames(file)), default=0)
                source.fault = _within_a_frame(held, sound.samplerate) if end > size else ""

    # Else soundfile seeks after each block, from which MP3 does not go on as it would have.
    sound.seekable = lambda: False
    source = Source(sound.samplerate, stated, blocks())
    with sound:
        yield source


def _fault(sound: "SoundFile", stated: int | None, held: int, file: _Bytes, size: int) -> str:
    """What says that the samples held are not all: the header, libsndfile's log, the place it stopped at, Ogg's last page."""
    log, rate = sound.extra_info, sound.samplerate
    short = MAX_SHORT_S * rate
    if stated and stated - held > short:
        return _cut_off(stated, held, rate)
    for found in _STATED.finditer(log):
        promised, there = (int(found[1]), int(found[2])) if found[1] else (int(found[4]), int(found[3]))
        if promised < _PIPE_BYTES and (promised / max(1, there) - 1) * held > short:
            return _cut_off(held * promised / max(1, there), held, rate)
    read = file.tell()
    more = (size / max(1, read) - 1) * held > short
    if more and (sound.format not in CHUNKED or "Unknown chunk marker" in log):
        return f"its header states {held / rate:.2f} s, and {size - read} of its {size} bytes follow them"
    return "its last page is missing" if sound.format == "OGG" and not _ogg_ends(file, size) else ""


def _cut_off(stated: float, held: int, rate: int) -> str:
    return f"it is cut off: its header states {stated / rate:.2f} s, it holds {held / rate:.2f} s"


def _within_a_frame(held: int, rate: int) -> str:
    return f"it is cut off after {held / rate:.2f} s, within a frame"


def _ogg_ends(file: _Bytes, size: int) -> bool:
    """Whether an Ogg file's last page is whole and marked as the last."""
    file.seek(max(0, size - OGG_PAGE_BYTES))
    page = (tail := file.read())[tail.rfind(b"OggS") :]
    return len(page) > 26 and bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def _counts_frames(file: _Bytes) -> bool:
    """Whether an MP3 states its length: in its first frame, behind the tag if any, the count that Xing, LAME or Fraunhofer's write."""
    at = file.tell()
    file.seek(_behind_tags(file))
    frame = file.read(64)  # a frame's samples may spell anything
    file.seek(at)
    found = re.search(rb"(?:Xing|Info)...(.)|VBRI", frame, re.DOTALL)
    return found is not None and (found[1] is None or bool(found[1][0] & 1))


def _behind_tags(file: _Bytes) -> int:
    """Where an MP3's frames begin: at 0, or behind its ID3v2 tags."""
    end = 0
    while True:
        file.seek(end)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return end
        end += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


def _mp3_frames(file: _Bytes) -> Iterator[tuple[int, int]]:
    """Yield the code of each frame's bit rate and where the frame ends, as the headers state it, up to what is no frame."""
    at, end = file.tell(), _behind_tags(file)
    while True:
        file.seek(end)
        head = file.read(FRAME_HEADER_BYTES)
        size = _frame_bytes(head)
        if size < LEAST_FRAME_BYTES:
            break
        end += size
        yield head[2] >> 4, end
    file.seek(at)


@contextmanager
def _ffmpeg(file: _Bytes, name: str, fault: str) -> Iterator[Source]:
    other = f"PyAV for {name}, not audio that libsndfile reads"
    av = imported("av", other, f"{install('formats')}, or convert it to WAV, FLAC, OGG or MP3")
    file.seek(0)
    try:
        container = av.open(file, options={"format_whitelist": DEMUXERS, "protocol_whitelist": "none"})
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"{name}: not audio that libsndfile or FFmpeg reads; convert it to WAV, FLAC, OGG or MP3, or give raw PCM as standard input"
        ) from error
    with container:
        stream = next((each for each in container.streams.audio if each.codec_context), None)
        if stream is None:
            raise InputError(f"{name}: not audio, FFmpeg found none of a codec that it knows; drop the file")
        rate = stream.codec_context.sample_rate
        uncounted = container.format.name in UNCOUNTED

        def blocks() -> Iterator[Block]:
            resampler = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=rate)
            held, last = 0, b""
            try:
                for packet in container.demux(stream):
                    last = bytes(packet) if uncounted and packet.size else last
                    for frame in packet.decode():
                        for planes in resampler.resample(frame):
                            held += planes.samples
                            yield planes.to_ndarray().T
            except (av.FFmpegError, ValueError) as error:
                source.fault = f"damaged audio, FFmpeg stopped: {' '.join(str(error).split())}"
            if source.stated and source.stated - held > MAX_SHORT_S * rate:
                source.fault = _cut_off(source.stated, held, rate)
            if len(last) < _frame_bytes(last):
                source.fault = _within_a_frame(held, rate)

        seconds = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
        source = Source(rate, None if uncounted else round(seconds * rate) or None, blocks(), fault)
        yield source


def _frame_bytes(frame: bytes) -> int:
    """Return the size that the header of a frame of MP3 or AAC (ADTS) states; 0 for what is no such frame."""
    if len(frame) < FRAME_HEADER_BYTES or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return 0
    version, layer = frame[1] >> 3 & 3, frame[1] >> 1 & 3
    if layer == 0:
        return int.from_bytes(frame[3:6], "big") >> 5 & 0x1FFF
    kbits, rate = (V1_KBITS if version == 3 else V2_KBITS)[frame[2] >> 4], V1_RATES[frame[2] >> 2 & 3]
    if layer != 1 or version == 1 or not kbits or not rate:
        return 0
    shift = {3: 0, 2: 1, 0: 2}[version]
    return (144_000 if version == 3 else 72_000) * kbits // (rate >> shift) + (frame[2] >> 1 & 1)
