"""When each word of a clip is spoken, as far as that is known: a JSON line for each clip, in words.jsonl beside its manifest."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from runtime.entries import Strict
from runtime.errors import InputError, what_is_wrong
from runtime.files import written_whole

FILE = "words.jsonl"


class SpokenWord(Strict):
    """A word of a transcript, in seconds of its clip."""

    text: str
    """In lower case, without punctuation."""
    start_s: float | None
    """None: not known, and so for its end."""
    end_s: float | None


class SpokenClip(Strict):
    """All words of a clip, in their order."""

    audio_filepath: str
    """Relative to the file."""
    words: list[SpokenWord]


def read_word_times(path: Path) -> dict[Path, list[SpokenWord]]:
    """Return the words of each audio file. Raises InputError for a file that cannot be read, with the first broken line."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot read the words' times: {error.strerror}; make them again") from error
    clips = [_clip(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]
    return {path.parent / clip.audio_filepath: clip.words for clip in clips}


def _clip(line: bytes, place: str) -> SpokenClip:
    try:
        return SpokenClip.model_validate_json(line)
    except ValidationError as error:
        raise InputError(
            f"{place}: expected a clip's words, found at {what_is_wrong(error)}; make them again"
        ) from error


def write_word_times(path: Path, clips: Iterable[SpokenClip]) -> None:
    """Write them whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text("".join(f"{clip.model_dump_json()}\n" for clip in clips), encoding="utf-8")
