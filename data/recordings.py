"""The recordings of clips that a result file names, where they are still at hand."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from data.manifest import Utterance, find_manifests, read_manifest
from data.speech import load_speech
from runtime.audio import Samples
from runtime.errors import InputError

SAME_S = 0.002
"""Two lengths that differ by less are of the same recording, rounding apart."""


@dataclass(frozen=True)
class Named:
    """A clip as a result file names it."""

    data: str
    """Data set and language, such as common_voice_en."""
    lang: str
    """Language code."""
    audio: str
    """The end of the file's path, after it @ and an offset for a part of it."""
    audio_s: float
    """Length in seconds."""


def recordings(clips: Collection[Named], folders: Sequence[Path], sample_rate: int) -> Iterator[tuple[Named, Samples]]:
    """Yield the clips whose recordings lie in a folder of data sets, each with its samples, float32 [n] at a rate in Hz.

    A recording is a clip's where name and length agree. What is missing, broken or of another length is left out.
    """
    for data, lang in dict.fromkeys((clip.data, clip.lang) for clip in clips):
        wanted = [clip for clip in clips if (clip.data, clip.lang) == (data, lang)]
        for folder in folders:
            for _, utterances in groupby(_utterances(folder, data, lang, wanted), lambda each: each.audio):
                with suppress(InputError):
                    parts = list(utterances)
                    for utterance, samples in zip(parts, load_speech(parts, sample_rate), strict=True):
                        length_s = len(samples) / sample_rate
                        found = [
                            clip for clip in wanted if _is_of(clip, utterance) and abs(clip.audio_s - length_s) < SAME_S
                        ]
                        for clip in found:
                            wanted.remove(clip)
                            yield clip, samples


def _utterances(folder: Path, data: str, lang: str, wanted: Sequence[Named]) -> list[Utterance]:
    """The utterances of a folder's data set that may be those that are wanted; none where it has no such data set."""
    with suppress(InputError):
        manifest = next((path for name, path in find_manifests(folder, lang).items() if f"{name}_{lang}" == data), None)
        if manifest is not None:
            utterances = read_manifest(manifest, allow=1.0)
            return [utterance for utterance in utterances if any(_is_of(clip, utterance) for clip in wanted)]
    return []


def _is_of(clip: Named, utterance: Utterance) -> bool:
    return f"/{utterance.audio.absolute().as_posix()}{utterance.part}".endswith(f"/{clip.audio}")
