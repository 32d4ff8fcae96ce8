"""NeMo-style JSONL manifests: one utterance a line, audio paths relative to the manifest or absolute."""

import codecs
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from runtime.errors import InputError
from runtime.files import sha256, written_whole

ALLOWED = 0.01  # share of broken lines that are left out, and named, where a caller does not ask for all


@dataclass(frozen=True)
class Utterance:
    """One recording and what is said in it."""

    audio: Path
    """Absolute, or relative to the working folder as the manifest's own path is."""
    text: str
    """Transcript as published, with its case and punctuation; never blank."""
    duration: float
    """In seconds, as the manifest says; above 0."""
    lang: str = "en"
    """Language code."""
    speaker: str = "unknown"
    offset: float | None = None
    """Where it begins in the file, in seconds; None: it is the whole file."""
    line: str = field(default="", compare=False)
    """Where it is written, as `manifest:line`, for messages."""

    @property
    def part(self) -> str:
        """What follows the file's name in an utterance's: its offset, such as @1.5s, where it is a part of the file."""
        return "" if self.offset is None else f"@{self.offset:g}s"


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Line(BaseModel):
    """A manifest line. Keys beyond these are ignored: NeMo's manifests carry many (pnc, source, license)."""

    model_config = ConfigDict(strict=True, extra="ignore")

    audio_filepath: _Text
    text: _Text
    duration: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    lang: _Text = "en"
    speaker: _Text = "unknown"
    offset: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


def read_manifest(
    path: str | os.PathLike[str],
    check_audio: bool = True,
    *,
    allow: float = 0.0,
    say: Callable[[str], object] = lambda _: None,
) -> list[Utterance]:
    """Read a JSONL manifest, as docs/manifests.md describes it.

    Args:
        path: the manifest, UTF-8, with or without a byte order mark.
        check_audio: also require every audio file to exist and to hold something.
        allow: share of the lines that may be broken, 0..1; they are left out.
        say: takes a message for each line that is left out.

    Raises:
        InputError: the manifest is missing or empty, or more lines are broken than allowed: the message names file and line number
            of the first.
    """
    path = Path(path)
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise InputError(f"{path}: cannot read the manifest: {error.strerror}") from error
    # Split on \n alone: a transcript may hold other characters that Python counts as line ends, such as U+2028.
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    if not lines:
        raise InputError(f"{path}: the manifest is empty; expected one JSON object a line")
    utterances, broken = dict[tuple[Path, float | None], Utterance](), list[str]()
    for number, line in lines:
        utterance = _utterance(path, number, line, check_audio)
        if isinstance(utterance, str):
            broken.append(utterance)
        elif (first := utterances.setdefault((utterance.audio, utterance.offset), utterance)) is not utterance:
            broken.append(f"{utterance.line}: the recording of {first.line} again; drop one of them")
    check_broken(broken, len(lines), allow)
    for message in broken:
        say(message)
    return list(utterances.values())


def allowed(percent: float) -> float:
    """Return the share of lines that `--allow` says may be broken. Raises InputError for what is no percentage."""
    if not 0 <= percent <= 100:
        raise InputError(f"expected --allow from 0 to 100 percent, found {percent:g}; {100 * ALLOWED:g} is usual")
    return percent / 100


def check_broken(broken: Sequence[str], total: int, allow: float) -> None:
    """Raise InputError, with the first message, where more than a share `allow` of `total` is broken."""
    if len(broken) > allow * total:
        counted = f"; {len(broken)} of {total} are broken so, at most {allow:.2%} may be left out: see --allow"
        raise InputError(broken[0] + (counted if allow else ""))


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest whole or not at all, audio paths relative to it. Raises InputError for what cannot be written, as in UTF-8."""
    folder = path.parent.resolve()
    content = ""
    for utterance in utterances:
        entry = asdict(utterance)
        del entry["line"]
        if utterance.offset is None:
            del entry["offset"]
        audio = os.path.relpath(entry.pop("audio").resolve(), folder)
        content += json.dumps({"audio_filepath": audio, **entry}, ensure_ascii=False) + "\n"
    try:
        encoded = content.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{path}: expected audio paths in UTF-8, found {error.object[: error.end]!a}; rename it"
        ) from error
    with written_whole(path) as temporary:
        temporary.write_bytes(encoded)


def find_manifests(folder: Path, lang: str) -> dict[str, Path]:
    """Data-set name -> manifest: `folder/manifest_LANG.jsonl` and every `folder/*/manifest_LANG.jsonl`, sorted.

    A data set's name is the name of the folder its manifest lies in.

    Raises:
        InputError: the folder is missing, holds no manifest of that language or two data sets of one name.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of data sets")
    name = f"manifest_{lang}.jsonl"
    folders = [folder.resolve(), *(child for child in folder.iterdir() if child.is_dir())]
    found: dict[str, Path] = {}
    for child in sorted(folders, key=lambda child: child.name):
        if not (child / name).is_file():
            continue
        if child.name in found:
            raise InputError(
                f"{folder}: expected data sets of different names, found two called {child.name}; rename one"
            )
        found[child.name] = child / name
    if not found:
        raise InputError(f"{folder}: expected {name} in it or in one of its folders, found none")
    return found


def words(sentence: str) -> str:
    """The sentence without case, spaces and punctuation: two clips with the same words say the same sentence."""
    return "".join(character for character in sentence.casefold() if character.isalnum())


def dataset_sha256(manifest: Path) -> str:
    """Hexadecimal SHA-256 of a data set: of its manifest's bytes and of every audio file's, in the manifest's order.

    Raises:
        InputError: as `read_manifest` does.
    """
    digest = hashlib.sha256()
    files = [manifest, *(utterance.audio for utterance in read_manifest(manifest, allow=1.0))]
    hashes = {path: bytes.fromhex(sha256(path)) for path in dict.fromkeys(files)}
    for path in files:
        digest.update(hashes[path])
    return digest.hexdigest()


def _utterance(manifest: Path, number: int, line: bytes, check_audio: bool) -> Utterance | str:
    """Return a line's utterance, or what is wrong with the line."""
    place = f"{manifest}:{number}"
    try:
        entry = _Line.model_validate_json(line)
    except ValidationError as error:
        return f"{place}: {_explain(error)}"
    audio = manifest.parent / os.path.expanduser(entry.audio_filepath)  # noqa: PTH111 -- it leaves an unknown user's ~ as it is
    if check_audio and not os.path.isfile(audio):  # noqa: PTH113 -- Path.is_file raises for a name that is too long
        return f"{place}: no audio file {str(audio)!r:.300}; audio_filepath is relative to the manifest"
    if check_audio and not audio.stat().st_size:
        return f"{place}: expected audio, found the empty file {str(audio)!r:.300}; copy it again, or drop it"
    return Utterance(audio, entry.text, entry.duration, entry.lang, entry.speaker, entry.offset, place)


def _explain(error: ValidationError) -> str:
    """The first thing wrong with a line, on one line."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return first["msg"].replace("line 1 ", "")  # the line within the line would be mistaken for the manifest's
    if not first["loc"]:
        return f"expected a JSON object, found {first['input']!r:.60}"
    key = first["loc"][0]
    if first["type"] == "missing":
        return f"the key {key!r} is missing"
    return f"{key}: {first['msg']}, found {first['input']!r:.60}"
