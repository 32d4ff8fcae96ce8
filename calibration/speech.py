"""The calibration speech: enough of it, fit to calibrate with, and none of it evaluation speech."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from calibration.record import DataEntry
from data import places
from data.manifest import Utterance, dataset_sha256, find_manifests, read_manifest, words
from data.speech import load_speech
from runtime.arguments import Arguments
from runtime.audio import CLIPPED_SHARE, FULL_SCALE, SILENT_DBFS, audio_rate, audio_seconds
from runtime.console import progress_console
from runtime.errors import InputError
from runtime.files import sha256

MINIMUM_MINUTES = 2.0
SILENT_SHARE = 0.5  # of the set's length
UNKNOWN = "unknown"  # a manifest's speaker where it names none


@dataclass(frozen=True)
class Selection:
    """The clips to stream, audio not loaded yet."""

    folder: Path
    utterances: tuple[Utterance, ...]
    data: list[DataEntry]

    @property
    def unnamed(self) -> int:
        """Clips whose manifest names no speaker: of them only sentence and recording can be compared with evaluation speech."""
        return sum(clip.speaker == UNKNOWN for clip in self.utterances)


def speech_arguments(prog: str, description: str | None) -> Arguments:
    """Return the command line of what is measured on calibration speech: which bundle, and which speech."""
    parser = Arguments(prog=prog, description=description)
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="folder made by `make export`")
    parser.add_argument("--data", type=Path, metavar="DIR", help="calibration sets (default: data/asr_calib)")
    parser.add_argument("--lang", default="en", help="language code of the manifests (default: en)")
    parser.add_argument("--minutes", type=float, metavar="M", help="the first M minutes only (default: all)")
    parser.add_argument(
        "--eval", type=Path, metavar="DIR", help="evaluation sets to keep out, beside data/asr_eval and data/sample"
    )
    return parser


def default_folder() -> Path:
    """Return the first asr_calib that is there. Raises InputError where none is."""
    found = places.folders("asr_calib")
    if not found:
        raise InputError(
            f"expected calibration speech in {places.PLACES[0] / 'asr_calib'}, found no such folder; make it from Common Voice with `make "
            f"data COMMON_VOICE=FOLDER`, or name another with --data"
        )
    return found[0]


def evaluation_folders(asked: Path | None) -> list[Path]:
    """Return the folders of evaluation speech: the one asked for, every asr_eval, the sample. Raises InputError for a missing one."""
    if asked and not asked.is_dir():
        raise InputError(
            f"--eval: expected a folder of evaluation speech, found no {asked}; leave it out for the usual ones"
        )
    folders = [*([asked] if asked else []), *places.folders("asr_eval"), places.SAMPLE]
    return list({folder.resolve(): folder for folder in reversed(folders) if folder.is_dir()}.values())


def select(folder: Path, lang: str, minutes: float | None, evaluation: Sequence[Path], sample_rate: int) -> Selection:
    """Choose the first clips of a language's data sets in `folder`, and check what can be checked before they are decoded.

    Args:
        folder: where `data.find_manifests` looks.
        lang: language code.
        minutes: take clips up to so many minutes; None for all.
        evaluation: folders of evaluation speech; every manifest in or below them counts.
        sample_rate: the model's, in Hz.

    Raises:
        InputError: no manifest or a broken one; a speaker, sentence or recording that the evaluation speech has too; clips of a
            rate below the model's; too few minutes.
    """
    sets = {f"{name}_{lang}": path for name, path in find_manifests(folder, lang).items()}
    _check_disjoint(folder, [clip for path in sets.values() for clip in read_manifest(path)], evaluation)
    chosen: list[Utterance] = []
    data: list[DataEntry] = []
    total_s = 0.0
    for name, manifest in sets.items():
        before_s, before = total_s, len(chosen)
        for utterance in read_manifest(manifest):
            if minutes is None or total_s < 60 * minutes:
                chosen.append(utterance)
                part = utterance.offset is not None  # else what the manifest says may be rounded
                total_s += utterance.duration if part else audio_seconds(utterance.audio)
        if clips := len(chosen) - before:
            streamed = round((total_s - before_s) / 60, 3)
            data.append(DataEntry(name=name, sha256=dataset_sha256(manifest), clips=clips, minutes=streamed))
    low = [(clip.audio.name, rate) for clip in chosen if (rate := audio_rate(clip.audio)) < sample_rate]
    if low:  # resampled, they have nothing in the upper bands
        raise InputError(
            f"{folder}: expected recordings of {sample_rate} Hz or more, found {len(low)} below it (such as {low[0][0]}, {low[0][1]} Hz); "
            f"take them out"
        )
    if total_s < 60 * MINIMUM_MINUTES:
        raise InputError(
            f"{folder}: expected at least {MINIMUM_MINUTES:g} minutes of calibration speech, found {total_s / 60:.2f} in {len(chosen)} "
            f"clips; add clips, or raise --minutes"
        )
    return Selection(folder, tuple(chosen), data)


def check_levels(selection: Selection, sample_rate: int) -> None:
    """Decode every clip once. Raises InputError for broken audio, and where most is silent or too much is clipped."""
    lengths, quiet, at_full_scale = [], [], []
    utterances = track(selection.utterances, "checking levels", console=progress_console(), transient=True)
    for samples in load_speech(utterances, sample_rate):
        lengths.append(len(samples))
        quiet.append(np.sqrt(np.mean(np.square(samples, dtype=np.float64))) < 10 ** (SILENT_DBFS / 20))
        at_full_scale.append(np.count_nonzero(np.abs(samples) >= FULL_SCALE))
    total, silent, clipped = sum(lengths), int(np.dot(lengths, quiet)), int(sum(at_full_scale))
    if silent > SILENT_SHARE * total:
        raise InputError(
            f"{selection.folder}: expected speech, found {silent / total:.0%} of it silent ({sum(quiet)} of "
            f"{len(selection.utterances)} clips below {SILENT_DBFS:g} dBFS, root mean square), at most {SILENT_SHARE:.0%} is allowed; "
            f"record it louder, or take those clips out"
        )
    if clipped > CLIPPED_SHARE * total:
        worst = selection.utterances[int(np.argmax(at_full_scale))].audio.name
        raise InputError(
            f"{selection.folder}: expected unclipped speech, found {clipped / total:.2%} of the samples at full scale (most in {worst}), "
            f"at most {CLIPPED_SHARE:.1%} is allowed; record it at a lower level, or take clipped clips out"
        )


def _check_disjoint(folder: Path, calibration: Sequence[Utterance], evaluation: Iterable[Path]) -> None:
    """Raise InputError where a speaker, a sentence or a recording is in both."""
    ours = {clip.audio: sha256(clip.audio) for clip in calibration}
    for place in evaluation:
        # rglob follows no links, of which the sets that a bench measures on may be made.
        manifests = sorted({*place.rglob("manifest_*.jsonl"), *place.glob("*/manifest_*.jsonl")})
        heard = [clip for path in manifests for clip in read_manifest(path, check_audio=False)]
        recordings = {sha256(clip.audio) for clip in heard if clip.audio.is_file()}
        speakers, sentences = {clip.speaker for clip in heard} - {UNKNOWN}, {words(clip.text) for clip in heard}
        shared = {
            "speakers": sorted({clip.speaker for clip in calibration if clip.speaker in speakers}),
            "sentences": sorted({clip.text for clip in calibration if words(clip.text) in sentences}),
            "recordings": [audio.name for audio, digest in ours.items() if digest in recordings],
        }
        if any(shared.values()):
            found = " and ".join(
                f"{len(names)} {what} (such as {names[0]!r:.60})" for what, names in shared.items() if names
            )
            raise InputError(
                f"{folder}: expected no speech of the evaluation set {place}, found {found} in both; take them out of the calibration "
                f"set, or name another with --data"
            )
