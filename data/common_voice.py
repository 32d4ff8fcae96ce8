"""Evaluation and calibration manifests from an unpacked Common Voice release: no speaker, no sentence in both."""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import rich.progress
from rich.progress import track

from data.manifest import ALLOWED, Utterance, check_broken, words, write_manifest
from runtime.audio import audio_seconds
from runtime.console import progress_console
from runtime.errors import InputError
from runtime.files import check_room

COLUMNS = ("client_id", "path", "sentence")


@dataclass(frozen=True)
class Selection:
    """What to take from a release. The same selection of the same release gives the same manifests, byte for byte."""

    eval_clips: int = 500
    """Clips to evaluate on."""
    calib_clips: int = 200
    """Clips to calibrate INT8 on."""
    seed: int = 0
    """Another seed takes other clips."""
    table: str = "validated.tsv"
    """The release's table to choose from; test.tsv keeps to what models do not train on."""
    allow: float = ALLOWED
    """Share of the table's rows, and of the clips chosen, that may be broken, 0..1; they are left out."""


class _Clip(NamedTuple):  # which is small: English has more than a million
    speaker: str
    file: str
    """Its name in clips/."""
    sentence: str


def make_manifests(
    release: Path, lang: str, out: Path, selection: Selection, say: Callable[[str], object] = lambda _: None
) -> list[Path]:
    """Write `asr_eval/common_voice/manifest_LANG.jsonl` and `asr_calib/common_voice/manifest_LANG.jsonl` under `out`.

    Clips stay where they are: the manifests hold relative paths to them. A sentence is taken once. Clips are spread
    over as many speakers as there are before a speaker gives a second one. In place of a clip that is missing or broken another is
    chosen.

    Args:
        release: the language's folder (with `clips/` and the tables), or a folder above it that holds `LANG/` or
            `cv-corpus-*/LANG/`.
        lang: the language's code, as Common Voice names its folder.
        out: the folder to write under.
        selection: sizes, seed, table and what may be broken.
        say: takes a message for each row and each clip that is left out.

    Returns:
        The manifests written: evaluation, calibration.

    Raises:
        InputError: no such folder or table, columns missing, another language's table, more rows or clips broken than allowed, or
            too few speakers or clips for the sizes asked.
    """
    sizes = {"asr_eval": selection.eval_clips, "asr_calib": selection.calib_clips}
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{name}: expected a size of at least 1 clip, found {size}")
    folder = _language_folder(release, lang, selection.table)
    manifests = {name: out / name / "common_voice" / f"manifest_{lang}.jsonl" for name in sizes}
    for manifest in manifests.values():
        check_room(manifest)
    clips = _read_table(folder / selection.table, lang, selection.allow, say)
    broken: dict[str, str] = {}  # by file
    while True:
        chosen = _choose((clip for clip in clips if clip.file not in broken), sizes, selection.seed)
        before = len(broken)
        utterances = {
            manifests[name]: [
                Utterance(folder / "clips" / clip.file, clip.sentence, seconds, lang, clip.speaker)
                for clip in track(picked, f"{name}: lengths", console=progress_console(), transient=True)
                if (seconds := _seconds(folder, clip, broken))
            ]
            for name, picked in chosen.items()
        }
        check_broken(list(broken.values()), sum(sizes.values()), selection.allow)
        if len(broken) == before:
            break
    for message in broken.values():
        say(message)
    for manifest, spoken in utterances.items():  # once the lengths of both are known
        write_manifest(manifest, spoken)
    return list(utterances)


def _seconds(folder: Path, clip: _Clip, broken: dict[str, str]) -> float:
    """Return a clip's length in seconds; 0 for one that cannot be opened, whose message is added."""
    audio = folder / "clips" / clip.file
    try:
        seconds = round(audio_seconds(audio), 3)
    except InputError as error:
        broken[clip.file] = str(error)
        return 0.0
    if not seconds:
        broken[clip.file] = f"{audio}: expected speech, found less than a millisecond; drop it"
    return seconds


def _language_folder(release: Path, lang: str, table: str) -> Path:
    if not release.is_dir():
        raise InputError(f"{release}: no such folder; expected an unpacked Common Voice release")
    for candidates in ([release], [release / lang], sorted(release.glob(f"cv-corpus-*/{lang}"))):
        found = [folder for folder in candidates if (folder / table).is_file()]
        if len(found) > 1:
            raise InputError(
                f"{release}: holds {len(found)} releases with {lang}; name one of them, such as {found[-1]}"
            )
        if found:
            return found[0]
    raise InputError(f"{release}: expected {table} in it, in {lang}/ or in cv-corpus-*/{lang}/, found none")


def _read_table(table: Path, lang: str, allow: float, say: Callable[[str], object]) -> list[_Clip]:
    """Read a table's rows. A sentence that holds a newline breaks its row in two, and both are left out."""
    clips, broken = dict[str, _Clip](), list[str]()
    total = 0  # rows
    try:
        with rich.progress.open(
            table,
            "r",
            encoding="utf-8-sig",  # with or without a byte order mark
            newline="",
            description=table.name,
            console=progress_console(),
            transient=True,
        ) as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)  # in these tables a quote is a quote
            columns = rows.fieldnames or ()
            missing = [column for column in COLUMNS if column not in columns]
            if missing:
                raise InputError(f"{table}: expected the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}")
            for row in rows:
                total += 1
                place = f"{table}:{rows.line_num}"
                if None in row or None in row.values():
                    fields = len([value for value in row.values() if value is not None]) + len(row.get(None, [])[1:])
                    broken.append(
                        f"{place}: expected {len(columns)} columns, found {fields}; is a newline in the sentence?"
                    )
                    continue
                if row.get("locale", lang) not in ("", lang):  # early releases have no such column
                    raise InputError(f"{place}: expected the language {lang}, found {row['locale']!r:.40}")
                suffix = "" if "." in row["path"] else ".mp3"  # the first release left it out
                clip = _Clip(row["client_id"], row["path"] + suffix, row["sentence"].strip())
                if not (clip.speaker and row["path"] and clip.sentence):
                    broken.append(f"{place}: expected {', '.join(COLUMNS)}, found a blank one; drop the row")
                elif clips.setdefault(clip.file, clip) is not clip:
                    broken.append(f"{place}: {clip.file!r:.100} again, which an earlier row has; drop one of them")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as a UTF-8 table: {error}") from error
    check_broken(broken, total, allow)
    for message in broken:
        say(message)
    return list(clips.values())


def _choose(clips: Iterable[_Clip], sizes: dict[str, int], seed: int) -> dict[str, list[_Clip]]:
    """Choose each set's clips: first every speaker gets one set, then each set takes clips of its speakers."""

    def shuffled(name: str) -> str:
        return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()

    by_speaker: dict[str, list[_Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: shuffled(clip.file)):
        by_speaker[clip.speaker].append(clip)
    # The most prolific speakers are dealt first, each to the set that is furthest from having enough, so that the few
    # speakers with very many clips do not leave one set without.
    speakers: dict[str, list[str]] = {name: [] for name in sizes}
    supply = dict.fromkeys(sizes, 0)
    for speaker in sorted(by_speaker, key=lambda speaker: (-len(by_speaker[speaker]), shuffled(speaker))):
        name = min(sizes, key=lambda name: supply[name] / sizes[name])
        speakers[name].append(speaker)
        supply[name] += len(by_speaker[speaker])

    used = {""}  # a sentence without words is never taken
    chosen: dict[str, list[_Clip]] = {name: [] for name in sizes}
    for name, size in sizes.items():
        turns = [
            (turn, order, clip)
            for order, speaker in enumerate(sorted(speakers[name], key=shuffled))
            for turn, clip in enumerate(by_speaker[speaker])
        ]
        for _, _, clip in sorted(turns, key=lambda entry: entry[:2]):
            if len(chosen[name]) < size and words(clip.sentence) not in used:
                used.add(words(clip.sentence))
                chosen[name].append(clip)
        if len(chosen[name]) < size:
            raise InputError(
                f"{name}: {len(chosen[name])} clips with distinct sentences from its {len(speakers[name])} of the "
                f"{len(by_speaker)} speakers, {size} asked; ask for fewer"
            )
    return chosen
