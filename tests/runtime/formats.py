"""The formats that people record in, as files of one speech; `python -m tests.runtime.formats` writes docs/audio.md's table."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import scipy.signal
import soundfile
import soxr

from runtime.audio import SAMPLE_RATE, read_audio
from runtime.decode import opened
from runtime.errors import InputError

PAGE = Path("docs/audio.md")
TABLE = re.compile(r"(?<=<!-- formats:start -->\n).*(?=<!-- formats:end -->)", re.DOTALL)
SPEECH = read_audio("data/sample/clips/01.mp3").samples[: 4 * SAMPLE_RATE]
Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Format:
    """A container and a codec as some program writes them."""

    name: str
    written_by: str
    suffix: str
    write: Callable[[Path, Audio], None]
    """Writes the file's samples: [n, channels]."""
    rate: int = 48_000
    """In Hz."""
    channels: int = 1
    alike: float = 0.99
    """Least correlation of what is decoded with the speech, at the file's rate."""

    def file(self, folder: Path) -> Path:
        """Write the speech, which its channels hold at different levels that average to 1."""
        path = folder / f"clip{self.suffix}"
        speech = soxr.resample(SPEECH, SAMPLE_RATE, self.rate)
        levels = np.linspace(0.5, 1.5, self.channels) if self.channels > 1 else np.ones(1)
        self.write(path, (speech[:, None] * levels).astype(np.float32))
        return path

    def correlation(self, samples: Audio) -> float:
        """How alike samples at 16 kHz are to the speech, as far as the file's rate can hold it, at the best lag."""
        held = soxr.resample(soxr.resample(SPEECH, SAMPLE_RATE, self.rate), self.rate, SAMPLE_RATE)
        products = scipy.signal.correlate(samples, held)
        return float(np.abs(products).max() / np.linalg.norm(samples) / np.linalg.norm(held))

    def cut(self, folder: Path) -> str:
        """What becomes of the first 60 % of the file's bytes."""
        path = self.file(folder)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        try:
            recording = read_audio(path)
        except InputError:
            return "refused: nothing can be decoded"
        return "found" if recording.fault else "not found: it states no length"


def sound(form: str, subtype: str, rate: int, endian: str = "FILE") -> Callable[[Path, Audio], None]:
    """Return what writes through libsndfile."""
    return lambda path, samples: soundfile.write(path, samples, rate, subtype, endian, form)


def ffmpeg(
    form: str, codec: str, rate: int, *, variable: bool = False, **options: str
) -> Callable[[Path, Audio], None]:
    """Return what writes through FFmpeg; `variable`: at a rate that follows the sound."""

    def write(path: Path, samples: Audio) -> None:
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[1]]
        with av.open(str(path), "w", format=form, options=options) as container:
            stream: Any = container.add_stream(codec, rate=rate, layout=layout)
            stream.bit_rate = 12_200 if "amr" in codec else 64_000
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), "fltp", layout)
            frame.rate = rate
            context = stream.codec_context
            if variable:
                context.qscale, context.global_quality = True, 0
            context.open()
            resampler = av.AudioResampler(context.format, layout, rate, context.frame_size or 1024)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(stream.encode(piece))
            container.mux(stream.encode(None))

    return write


def pipe(path: Path, samples: Audio) -> None:
    """Write a WAV as programs do into a pipe: its sizes are not known yet."""
    soundfile.write(path, samples, 48_000, format="WAV")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    path.write_bytes(content)


def crashed(path: Path, samples: Audio) -> None:
    """Write a WAV whose program ended before it stated the sizes."""
    soundfile.write(path, samples, 48_000, format="WAV")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = bytes(4)
    path.write_bytes(content)


RECORDER, BROWSER, PHONE, TELEPHONY = "recorders, editors", "browsers", "phones", "telephony"
FORMATS = [
    *(
        Format(f"WAV, {what}", who, ".wav", sound("WAV", subtype, rate), rate, channels, alike)
        for what, who, subtype, rate, channels, alike in [
            ("16-bit PCM", RECORDER, "PCM_16", 44_100, 2, 0.99),
            ("8-bit PCM", RECORDER, "PCM_U8", 22_050, 1, 0.98),
            ("24-bit PCM, 5.1", RECORDER, "PCM_24", 192_000, 6, 0.99),
            ("32-bit PCM", RECORDER, "PCM_32", 96_000, 1, 0.99),
            ("float", RECORDER, "FLOAT", 48_000, 2, 0.99),
            ("64-bit float", RECORDER, "DOUBLE", 48_000, 1, 0.99),
            ("IMA ADPCM", "dictation", "IMA_ADPCM", 16_000, 1, 0.99),
            ("MS ADPCM", "dictation", "MS_ADPCM", 16_000, 1, 0.99),
            ("mu-law", TELEPHONY, "ULAW", 8_000, 1, 0.99),
            ("A-law", TELEPHONY, "ALAW", 8_000, 1, 0.99),
            ("GSM 6.10", TELEPHONY, "GSM610", 8_000, 1, 0.9),
        ]
    ),
    Format("WAV of a pipe, length unknown", "ffmpeg, arecord", ".wav", pipe),
    Format("WAV never completed, length 0", "a recorder that crashed", ".wav", crashed),
    Format("WAV, big-endian (RIFX)", RECORDER, ".wav", sound("WAV", "PCM_16", 16_000, "BIG"), 16_000),
    Format("RF64", RECORDER, ".wav", sound("RF64", "PCM_16", 48_000)),
    Format("Wave64", RECORDER, ".w64", sound("W64", "PCM_16", 48_000)),
    Format("AIFF", "macOS", ".aiff", sound("AIFF", "PCM_16", 44_100), 44_100),
    Format("AU, mu-law", TELEPHONY, ".au", sound("AU", "ULAW", 8_000), 8_000),
    Format("CAF, 16-bit PCM", "macOS, iOS", ".caf", sound("CAF", "PCM_16", 48_000)),
    Format("CAF, ALAC", "macOS, iOS", ".caf", sound("CAF", "ALAC_16", 48_000)),
    Format("FLAC, 24 bits", RECORDER, ".flac", sound("FLAC", "PCM_24", 48_000), channels=2),
    Format("Ogg, Vorbis", RECORDER, ".ogg", sound("OGG", "VORBIS", 48_000), alike=0.95),
    Format("Ogg, Opus", "Firefox, messengers", ".ogg", sound("OGG", "OPUS", 48_000), alike=0.95),
    Format("MP3", RECORDER, ".mp3", sound("MP3", "MPEG_LAYER_III", 44_100), 44_100, 2, alike=0.95),
    Format(
        "MP3, no frame count", "streams", ".mp3", ffmpeg("mp3", "libmp3lame", 44_100, write_xing="0"), 44_100, alike=0.9
    ),
    Format(
        "MP3 of a variable rate, no frame count",
        "old encoders",
        ".mp3",
        ffmpeg("mp3", "libmp3lame", 44_100, variable=True, write_xing="0"),
        44_100,
        alike=0.9,
    ),
    Format("WebM, Opus", BROWSER, ".webm", ffmpeg("webm", "libopus", 48_000), alike=0.95),
    Format(
        "WebM, Opus, length unknown",
        "browsers' MediaRecorder",
        ".webm",
        ffmpeg("webm", "libopus", 48_000, live="1"),
        alike=0.95,
    ),
    Format("Matroska, Opus", "screen recorders", ".mkv", ffmpeg("matroska", "libopus", 48_000), channels=2, alike=0.95),
    Format("m4a, AAC", PHONE, ".m4a", ffmpeg("ipod", "aac", 44_100), 44_100, alike=0.95),
    Format(
        "m4a, AAC, index first", PHONE, ".m4a", ffmpeg("ipod", "aac", 44_100, movflags="faststart"), 44_100, alike=0.95
    ),
    Format("m4a, ALAC", PHONE, ".m4a", ffmpeg("ipod", "alac", 44_100), 44_100),
    Format(
        "mp4, AAC, in fragments",
        "Safari's MediaRecorder",
        ".mp4",
        ffmpeg("mp4", "aac", 48_000, movflags="frag_keyframe+empty_moov"),
        alike=0.95,
    ),
    Format("AAC (ADTS)", PHONE, ".aac", ffmpeg("adts", "aac", 44_100), 44_100, alike=0.95),
    Format("3GP, AMR", PHONE, ".3gp", ffmpeg("3gp", "libopencore_amrnb", 8_000), 8_000, alike=0.8),
    Format("AMR", PHONE, ".amr", ffmpeg("amr", "libopencore_amrnb", 8_000), 8_000, alike=0.8),
    Format("WMA", "Windows", ".wma", ffmpeg("asf", "wmav2", 44_100), 44_100, alike=0.95),
    Format("NIST SPHERE", "corpora", ".sph", sound("NIST", "PCM_16", 16_000), 16_000),
]


def table() -> str:
    """Return the table in Markdown, each row tried just now."""
    lines = ["| format | written by | read by | cut off at 60 % |", "|---|---|---|---|"]
    with TemporaryDirectory() as folder:
        for each in FORMATS:
            path = each.file(Path(folder))
            lines.append(f"| {each.name} | {each.written_by} | {reader(path)} | {each.cut(Path(folder))} |")
    return "\n".join(lines) + "\n"


def reader(path: Path) -> str:
    """Which library reads the file."""
    with path.open("rb") as file, opened(file, path.name) as source:
        return "libsndfile" if "_libsndfile" in getattr(source.blocks, "__qualname__", "") else "FFmpeg"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text("utf-8")), "utf-8")
