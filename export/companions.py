"""What a bundle carries beside the checkpoint: a language model, Silero VAD's model, and what is known of its words."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from runtime import word_models
from runtime.bundle import Bundle, read_bundle
from runtime.decoders.ngram import LmChoice, language_model_file, language_model_name, word_list
from runtime.entries import FileEntry, LanguageModelEntry
from runtime.errors import InputError
from runtime.files import sha256

LANGUAGE_MODEL_FILES = ("lm_words.txt", "lm.kenlm")
"""Names in a bundle."""
PACKAGE, SILERO = "silero_vad", Path("data/silero_vad_16k_op15.onnx")


@dataclass(frozen=True)
class Companions:
    """The entries of the manifest and the files that they are of."""

    language_model: LanguageModelEntry | None = None
    voice_activity: FileEntry | None = None
    sources: Mapping[str, Path] = field(default_factory=dict)
    """By name in the bundle."""
    words: Path | None = None
    """Word models of the bundle's look-ahead, for one that holds none of its own."""

    def copy_to(self, folder: Path) -> None:
        """Copy the files into a bundle's folder."""
        for name, source in self.sources.items():
            _copy(source, folder / name)

    def add_words(self, folder: Path, bundle: Bundle) -> None:
        """Give a bundle's folder these word models, unless it holds some that fit. Raises InputError for those that do not."""
        word_models.remove_unfit(folder, bundle)
        own = folder / word_models.FILE
        if self.words and not own.is_file():
            _copy(self.words, own)
            word_models.word_model(folder, bundle, "ctc")

    def with_language_model_of(self, folder: Path, checkpoint_sha256: str | None) -> "Companions":
        """Return these with the language model, or none, that the bundle in `folder` carries, where it is of this checkpoint."""
        try:
            bundle = read_bundle(folder)
        except InputError:
            return self
        if checkpoint_sha256 not in (None, bundle.checkpoint.sha256):
            return self
        sources = {name: path for name, path in self.sources.items() if name not in LANGUAGE_MODEL_FILES}
        sources |= {name: folder / name for name in LANGUAGE_MODEL_FILES if bundle.language_model}
        return replace(self, language_model=bundle.language_model, sources=sources)


NO_COMPANIONS = Companions()


def companions(model: str, checkpoint: str, lm: LmChoice) -> Companions:
    """The companions of `model`, a checkpoint of that name. `lm` "default" is the language model beside it, see `beside`.

    Raises InputError for a language model without one of its files.
    """
    sources = {}
    file = beside(Path(model)) if lm == "default" else language_model_file(lm)
    if file:
        sources = dict(zip(LANGUAGE_MODEL_FILES, (word_list(file), file), strict=True))
    with suppress(InputError):
        sources[SILERO.name] = silero_file()
    entries = {name: FileEntry(file=name, sha256=sha256(source)) for name, source in sources.items()}
    language_model = None
    if file:
        name = language_model_name(file, checkpoint)
        language_model = LanguageModelEntry(name=name, model=entries["lm.kenlm"], words=entries["lm_words.txt"])
    return Companions(language_model, entries.get(SILERO.name), sources)


def beside(model: Path) -> Path | None:
    """CHECKPOINT.NAME.kenlm beside CHECKPOINT.nemo, where NAME has no dot; None without one. Raises InputError for several."""
    near = sorted(model.parent.glob("*.kenlm")) if model.suffix == ".nemo" else []
    found = [each for each in near if each.stem.rpartition(".")[0] == model.stem]
    if len(found) > 1:
        names = " and ".join(each.name for each in found)
        raise InputError(f"expected one language model beside {model}, found {names}; name one with --lm")
    return found[0] if found else None


def words_beside(model: Path, lookahead_ms: int) -> Path | None:
    """CHECKPOINT.words-LOOKAHEADms.json beside CHECKPOINT.nemo; None without one."""
    file = model.with_suffix(f".words-{lookahead_ms}ms.json")
    return file if model.suffix == ".nemo" and file.is_file() else None


def silero_file() -> Path:
    """Silero VAD's model in the silero-vad package, which is found and never imported, as it would import torch.

    Raises InputError where it is not installed.
    """
    spec = find_spec(PACKAGE)  # a package without a dot is looked up, not imported
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    found = next((folder / SILERO for folder in folders if (folder / SILERO).is_file()), None)
    if found is None:
        raise InputError(f"expected {PACKAGE}/{SILERO} of the silero-vad package, found none; run `make setup`")
    return found


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as written:  # on a full disk copyfile names the source
        shutil.copyfileobj(read, written)
