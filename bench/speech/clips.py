"""Data sets as clips to feed: loaded, speech marked, those whose reference cannot be scored left out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.results import DataProvenance
from bench.score.normalise import check_language, scorable
from bench.speech.feed import Clip
from bench.speech.onset import find_speech
from data import places
from data.manifest import Utterance, dataset_sha256, find_manifests, read_manifest
from runtime.audio import load_audio
from runtime.errors import InputError


@dataclass(frozen=True)
class DataSet:
    """A data set, or its first clips, not loaded yet."""

    name: str  # folder and language, as common_voice_en
    manifest: Path
    utterances: tuple[Utterance, ...]
    left_out: int  # clips whose reference cannot be scored, among the first `limit`

    @property
    def minutes(self) -> float:
        """Length by the manifest's durations."""
        return sum(utterance.duration for utterance in self.utterances) / 60

    def clip_name(self, utterance: Utterance) -> str:
        """Audio path relative to the manifest where it lies below it.

        Of audio elsewhere, as absolute paths may name, it is the path's last components: as many as tell the set's clips apart, and not
        the machine's folders above them.
        """
        return self._names[utterance.audio]

    @cached_property
    def _names(self) -> dict[Path, str]:
        files = {each.audio: each.audio.resolve() for each in self.utterances}
        below = {audio: _below(self.manifest.parent, audio) for audio in files}
        names: dict[Path, str] = {}
        for kept in range(1, max(len(audio.absolute().parts) for audio in files) + 1):
            names = {audio: name or Path(*audio.absolute().parts[-kept:]).as_posix() for audio, name in below.items()}
            named = {name: files[audio] for audio, name in names.items()}
            if all(named[name] == files[audio] for audio, name in names.items()):
                break
        return names


def _below(folder: Path, path: Path) -> str | None:
    """The path relative to the folder, as both are written or else as links lead; None for one that is not in it."""
    for outer, inner in ((folder, path), (folder.resolve(), path.resolve())):
        if inner.is_relative_to(outer) and ".." not in inner.relative_to(outer).parts:
            return inner.relative_to(outer).as_posix()
    return None


def eval_folder(folder: Path | None, say: Callable[[str], None]) -> Path:
    """The folder asked for, else the first asr_eval that is there, else the committed sample; says so where it is the sample."""
    chosen = folder or next(iter(places.folders("asr_eval")), places.SAMPLE)
    if chosen.resolve() == places.SAMPLE.resolve():
        usual = places.PLACES[0] / "asr_eval"
        say(f"measuring on {places.SAMPLE}, synthesised speech for a first look; real speech goes to {usual}")
    return chosen


def data_sets(folder: Path, lang: str, limit: int | None) -> list[DataSet]:
    """The data sets of a language in a folder.

    Args:
        folder: where `data.manifest.find_manifests` looks.
        lang: language code.
        limit: take the first so many clips of each data set only; None for all.

    Raises:
        InputError: bad arguments, a broken manifest, or a data set without a clip that can be scored.
    """
    check_language(lang)
    if limit is not None and limit < 1:
        raise InputError(f"--limit: expected at least 1 clip, found {limit}; leave it out for all")
    found = []
    for name, manifest in find_manifests(folder, lang).items():
        first = read_manifest(manifest)[:limit]
        kept = tuple(utterance for utterance in first if scorable(utterance.text, lang))
        if not kept:
            raise InputError(f"{manifest}: none of {len(first)} references is without digits; nothing can be scored")
        found.append(DataSet(f"{name}_{lang}", manifest, kept, len(first) - len(kept)))
    return found


def load(data_set: DataSet, utterance: Utterance, sample_rate: int, mark_speech: bool) -> Clip:
    """Load one clip at a sample rate in Hz and, if asked, mark its speech. Raises InputError for broken audio."""
    samples = load_audio(utterance.audio, sample_rate)
    speech = find_speech(samples, sample_rate) if mark_speech else None
    return Clip(data_set.clip_name(utterance), samples, sample_rate, utterance.text, speech)


def joined(name: str, clips: list[Clip]) -> Clip:
    """Clips as one stream, end to end, with their references as one text."""
    samples = np.concatenate([clip.samples for clip in clips])
    return Clip(name, samples, clips[0].sample_rate, " ".join(clip.reference for clip in clips), None)


def provenance(data_set: DataSet) -> DataProvenance:
    """The data set for the result file."""
    return DataProvenance(
        name=data_set.name,
        sha256=dataset_sha256(data_set.manifest),
        clips=len(data_set.utterances),
        minutes=data_set.minutes,
    )
