"""Data sets as clips to feed: loaded, onset and end of speech marked, those whose reference cannot be scored left out."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.rows import DataProvenance, UtteranceRecord
from bench.score.normalise import check_language, scorable
from data import places
from data.manifest import ALLOWED, Utterance, dataset_sha256, find_manifests, read_manifest
from data.speech import load_speech
from data.voiced import Speech, find_speech
from export.companions import silero_file
from runtime.errors import InputError
from runtime.vad import Vad

Audio = npt.NDArray[np.float32]
"""[samples], -1..1."""


@dataclass(frozen=True)
class Clip:
    """Audio to feed and what is known of it."""

    name: str
    """As DataSet.names has it, or the data set's name for several of its clips as one stream."""
    samples: Audio
    sample_rate: int
    """In Hz."""
    reference: str
    """Transcript as published."""
    speech: Speech | None
    """None: not marked, or no speech found."""

    @property
    def audio_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class DataSet:
    """A data set, or its first clips, not loaded yet."""

    name: str
    """Folder and language, such as common_voice_en."""
    lang: str
    """Language code."""
    manifest: Path
    utterances: tuple[Utterance, ...]
    left_out: int
    """Clips whose reference cannot be scored, among the first `limit`, and the manifest's broken lines."""

    @property
    def minutes(self) -> float:
        """Length by the manifest's durations."""
        return sum(utterance.duration for utterance in self.utterances) / 60

    def provenance(self) -> DataProvenance:
        """Return the data set for the result file."""
        sha256 = dataset_sha256(self.manifest)
        return DataProvenance(name=self.name, sha256=sha256, clips=len(self.utterances), minutes=self.minutes)

    def load(self, sample_rate: int, *, mark_speech: bool) -> list[Clip]:
        """Load the clips at a sample rate in Hz and, if asked, mark their speech.

        What may spoil recordings, such as clipping, is a line on standard error. Raises InputError for audio that is broken, not whole,
        or not as long as the manifest says.
        """
        clips = []
        spoilt: list[str] = []
        detector = Vad(silero_file()) if mark_speech else None
        speech = load_speech(
            self.utterances, sample_rate, lambda at, line: spoilt.append(f"{self.clip_name(at)}: {line}")
        )
        for utterance, samples in zip(self.utterances, speech, strict=True):
            marked = find_speech(detector, samples, sample_rate) if detector else None
            clips.append(Clip(self.clip_name(utterance), samples, sample_rate, utterance.text, marked))
        if spoilt:
            print(f"warning: {self.name}: {len(spoilt)} recordings may be spoilt, such as {spoilt[0]}", file=sys.stderr)
        return clips

    def clip_name(self, utterance: Utterance) -> str:
        """Return the name of an utterance's recording, with its offset where it is a part of one."""
        return self.names[utterance.audio] + utterance.part

    def record(self, clip: Clip, **recognised: Any) -> UtteranceRecord:
        """Return the result file's record of a clip; `recognised`: its mode, hypothesis, times and marks."""
        of: dict[str, Any] = {"data": self.name, "lang": self.lang, "audio": clip.name, "reference": clip.reference}
        return UtteranceRecord(**of, audio_s=clip.audio_s, **recognised)

    @cached_property
    def names(self) -> dict[Path, str]:
        """By audio file, its path relative to the manifest where it lies below it.

        Of audio elsewhere, as absolute paths may name, it is the path's last components: as many as tell the set's clips apart, and not
        the machine's folders above them.
        """
        files = {utterance.audio: utterance.audio.resolve() for utterance in self.utterances}
        below = {audio: _below(self.manifest.parent, audio) for audio in files}
        names: dict[Path, str] = {}
        for kept in range(1, max(len(audio.absolute().parts) for audio in files) + 1):
            names = {audio: name or Path(*audio.absolute().parts[-kept:]).as_posix() for audio, name in below.items()}
            named = {name: files[audio] for audio, name in names.items()}
            if all(named[name] == files[audio] for audio, name in names.items()):
                break
        return names


def _below(folder: Path, path: Path) -> str | None:
    """Return the path relative to the folder, as both are written or else as links lead; None for one that is not in it."""
    for outer, inner in ((folder, path), (folder.resolve(), path.resolve())):
        if inner.is_relative_to(outer) and ".." not in inner.relative_to(outer).parts:
            return inner.relative_to(outer).as_posix()
    return None


def eval_folder(folder: Path | None, say: Callable[[str], None]) -> Path:
    """Return the folder asked for, else the first asr_eval that is there, else the committed sample; says so where it is the sample."""
    chosen = folder or next(iter(places.folders("asr_eval")), places.SAMPLE)
    if chosen.resolve() == places.SAMPLE.resolve():
        usual = places.PLACES[0] / "asr_eval"
        say(f"measuring on {places.SAMPLE}, synthesised speech for a first look; real speech goes to {usual}")
    return chosen


def data_sets(folder: Path, lang: str, limit: int | None, allow: float = ALLOWED) -> list[DataSet]:
    """Return the data sets of a language in a folder.

    Args:
        folder: where `data.manifest.find_manifests` looks.
        lang: language code.
        limit: take the first so many clips of each data set only; None for all.
        allow: share of a manifest's lines that may be broken, 0..1; each is named on standard error and left out.

    Raises:
        InputError: bad arguments, a broken manifest, or a data set without a clip that can be scored.
    """
    check_language(lang)
    if limit is not None and limit < 1:
        raise InputError(f"--limit: expected at least 1 clip, found {limit}; leave it out for all")
    found = []
    for name, manifest in find_manifests(folder, lang).items():
        broken: list[str] = []
        first = read_manifest(manifest, allow=allow, say=broken.append)[:limit]
        for line in broken:
            print(f"left out: {line}", file=sys.stderr)
        kept = tuple(utterance for utterance in first if scorable(utterance.text, lang))
        if not kept:
            raise InputError(f"{manifest}: none of {len(first)} references is without digits; nothing can be scored")
        if len(kept) < len(first):
            found_in = f"{len(first) - len(kept)} of {len(first)} references of {manifest}"
            print(
                f"left out: {found_in}: they have digits, or no word; write numbers as they are spoken", file=sys.stderr
            )
        found.append(DataSet(f"{name}_{lang}", lang, manifest, kept, len(first) - len(kept) + len(broken)))
    return found


def with_speech(name: str, clips: Sequence[Clip]) -> list[tuple[Clip, Speech]]:
    """Return the clips of the data set of that name in which speech was found. Raises InputError where there are none."""
    found = [(clip, clip.speech) for clip in clips if clip.speech is not None]
    if not found:
        raise InputError(
            f"{name}: expected speech, found none in its {len(clips)} clips by Silero VAD; take another data set, or record it louder"
        )
    return found


def joined(name: str, clips: Sequence[Clip]) -> Clip:
    """Return clips as one stream, end to end, with their references as one text."""
    samples = np.concatenate([clip.samples for clip in clips])
    return Clip(name, samples, clips[0].sample_rate, " ".join(clip.reference for clip in clips), None)


def seeded(seed: int) -> np.random.Generator:
    """Return what draws order, silences and starts. Raises InputError for a seed below 0."""
    if seed < 0:
        raise InputError(f"--seed: expected a number from 0 on, found {seed}; 0 is usual")
    return np.random.default_rng(seed)
