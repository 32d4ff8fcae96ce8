"""What is heard of clips in an HTML page, which needs no file beside it: each clip as MP3 and its waveform as an SVG path."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from bench.rows import UtteranceRecord
from data import places
from data.recordings import Named, recordings
from runtime.audio import SAMPLE_RATE, Samples

MOST_MINUTES = 25.0
"""Of speech in a page: at 4.3 KB a second, as measured, 6.5 MB."""
QUALITY = 0.7
"""Of the MP3 with a variable bit rate, 0 the best to 1 the smallest."""
BARS = 240
"""Of a waveform."""
HEIGHT = 50
"""Of half a waveform, in units of its drawing."""


@dataclass(frozen=True)
class Sound:
    """A clip that can be played."""

    source: str
    """Its audio as a data URI: MP3, which every browser plays."""
    bars: str
    """Its waveform as the path of an SVG drawing, `BARS` wide and from -HEIGHT to HEIGHT; the loudest sample reaches them."""


@dataclass(frozen=True)
class Sounds:
    """Of the clips of a page those that can be played, and how many cannot."""

    found: dict[Named, Sound]
    missing: int
    """Clips whose recordings are not at hand."""
    beyond: int
    """Clips beyond MOST_MINUTES."""

    @property
    def note(self) -> str:
        """Why clips have no sound; empty where all have."""
        reasons = [
            (
                self.missing,
                "whose recordings are not here: --eval names the folder of data sets that they are in",
            ),
            (self.beyond, f"beyond the {MOST_MINUTES:g} minutes that a page holds"),
        ]
        return "; ".join(f"{count} {'clip' if count == 1 else 'clips'} {reason}" for count, reason in reasons if count)


def named(record: UtteranceRecord) -> Named:
    """Return a record's clip."""
    return Named(record.data, record.lang, record.audio, record.audio_s)


def sounds_of(records: Iterable[UtteranceRecord], folder: Path | None) -> Sounds:
    """Return the sounds of the clips of records, the first of them first, out of a folder of data sets; None: where data usually lies."""
    folders = [folder] if folder else [*places.folders("asr_eval"), places.SAMPLE]
    clips = list(dict.fromkeys(map(named, records)))
    ends_s = np.cumsum([clip.audio_s for clip in clips])
    wanted = clips[: int(np.searchsorted(ends_s, 60 * MOST_MINUTES, side="right"))]
    found = {clip: Sound(_source(samples), bars(samples)) for clip, samples in recordings(wanted, folders, SAMPLE_RATE)}
    return Sounds(found, len(wanted) - len(found), len(clips) - len(wanted))


def _source(samples: Samples) -> str:
    file = io.BytesIO()
    how = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": QUALITY}
    soundfile.write(file, samples, SAMPLE_RATE, **how)
    return f"data:audio/mpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def bars(samples: Sequence[float] | Samples) -> str:
    """Return the path of a waveform: each bar as high as the loudest of its samples, [n]; the least is a line that can be seen."""
    starts = np.linspace(0, len(samples), BARS, endpoint=False).astype(int)
    peaks = np.maximum.reduceat(np.abs(samples), starts)
    heights = np.maximum(1, np.round(HEIGHT * peaks / max(peaks.max(), 1e-9))).astype(int)
    return "".join(f"M{place}.5-{height}V{height}" for place, height in enumerate(heights))
