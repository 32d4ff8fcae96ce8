"""words.json of a bundle: how the pieces of each of its decoders become times and confidence, measured on calibration speech."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from .bundle import Bundle, checked_file
from .decoders.ngram import read_words
from .entries import Hash, Strict
from .errors import InputError

FILE = "words.json"
Search = Literal["ctc", "ctc with language model", "rnnt"]
"""How words are found."""
Measured = Annotated[float, Field(ge=-1e3, le=1e3)]
"""Within what any measurement may give, and what can be computed with."""


class WordModel(Strict):
    """Of one way to find words. By default times are those of the frames that decide, and confidence is the pieces' probability."""

    start_delay_s: Measured = 0.0
    """From a word's start to the beginning of the encoder frame that decides its first piece, the median."""
    end_delay_s: Measured = 0.0
    """From a word's end to the beginning of the encoder frame that decides its last piece, the median."""
    pieces: Measured = 1.0
    """Weight of this part of a word's Evidence in its log odds of being right, and so for the next four."""
    rivals: Measured = 0.0
    language: Measured = 0.0
    known: Measured = 0.0
    length: Measured = 0.0
    """A file that was measured before this part was weighed leaves it out."""
    offset: Measured = 0.0
    """Added to them."""


class WordModels(Strict):
    """The file."""

    schema_version: Literal[1] = 1
    checkpoint_sha256: Hash
    """What it was measured with, and the look-ahead."""
    lookahead_ms: int
    clips: int
    """Calibration clips that it was measured on."""
    made_from: Hash
    """Of those clips, the bundle's step and language model, and the sources that measured: all that the figures depend on."""
    searches: dict[Search, WordModel]


def word_model(folder: Path, bundle: Bundle, search: Search) -> WordModel:
    """Return what words.json in the bundle's folder says of a search.

    Where it says nothing, or there is none, a word lasts from its first piece's frame to the end of its last one's. Where it was measured
    with a language model and the bundle has none, confidence is the pieces' probability: the other weights are of words that a list knows.

    Raises InputError for a file that is broken or of another checkpoint or look-ahead.
    """
    path, make = folder / FILE, "`make words`"
    unmeasured = WordModel(end_delay_s=-bundle.encoder_frame_ms / 1000)
    if not path.is_file():
        return unmeasured
    found = WordModels.read(path, "a bundle's word models", make)
    if (found.checkpoint_sha256, found.lookahead_ms) != (bundle.checkpoint.sha256, bundle.lookahead_ms):
        raise InputError(
            f"expected {path} measured with {bundle.checkpoint.name} at {bundle.lookahead_ms} ms, found it of another checkpoint or "
            f"look-ahead; make it again with {make}"
        )
    model = found.searches.get(search, unmeasured)
    if bundle.language_model is None and "ctc with language model" in found.searches:
        return WordModel(start_delay_s=model.start_delay_s, end_delay_s=model.end_delay_s)
    return model


def remove_unfit(folder: Path, bundle: Bundle) -> None:
    """Remove words.json from the bundle's folder where `word_model` refuses it."""
    try:
        word_model(folder, bundle, "ctc")
    except InputError:
        (folder / FILE).unlink()


def known_words(folder: Path, bundle: Bundle) -> frozenset[str]:
    """Return the words of the list that the bundle carries with its language model; none without. Raises InputError for a broken one."""
    listed = bundle.language_model
    return frozenset(read_words(checked_file(folder, listed.words))) if listed else frozenset()
