"""Which language model a bundle gets, and what is refused in one line."""

import shutil
from pathlib import Path

import pytest

from runtime import InputError, Recognizer
from runtime.bundle import read_bundle
from runtime.decoders.ctc import GreedyCtc
from runtime.decoders.ngram import EMBEDDED_LM, EMBEDDED_SHA256, lm_choice, open_language_model
from runtime.files import sha256

CHECKPOINT = Path("data/checkpoint/streaming_fastconformer_ctc_en_small.nemo")


@pytest.fixture
def lm(tmp_path: Path) -> Path:
    """A copy of the embedded language model, to be damaged."""
    for name in (EMBEDDED_LM.name, "lm_en_words.txt"):
        shutil.copy(EMBEDDED_LM.with_name(name), tmp_path / name)
    return tmp_path / EMBEDDED_LM.name


def test_the_default_belongs_to_the_embedded_checkpoint(bundle: Path) -> None:
    assert sha256(CHECKPOINT) == EMBEDDED_SHA256
    manifest = read_bundle(bundle)
    ngram = open_language_model("default", manifest)
    assert ngram is not None
    assert ngram.name == "lm_en_4gram"
    checkpoint = manifest.checkpoint.model_copy(update={"sha256": "0" * 64})
    assert open_language_model("default", manifest.model_copy(update={"checkpoint": checkpoint})) is None


def test_none_is_greedy(bundle: Path) -> None:
    with Recognizer(bundle, backend="onnxruntime-cpu", lm=None) as recognizer:
        assert isinstance(recognizer.new_decoder(), GreedyCtc)


def test_command_line_choice() -> None:
    assert [lm_choice(text) for text in ("default", "none", "a/b.kenlm")] == ["default", None, Path("a/b.kenlm")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lm_en_4gram.kenlm", None, "found no file"),
        ("lm_en_4gram.kenlm", b"no language model", "KenLM cannot read"),
        ("lm_en_4gram.kenlm", b"", "KenLM cannot read"),
        ("lm_en_words.txt", None, "expected the word list of"),
        ("lm_en_words.txt", b"", "empty"),
        ("lm_en_words.txt", b"\xff\xfe", "unreadable"),
        ("lm_en_words.txt", "a\nthe\nstraßenbahn\n".encode(), "found 1 of 3 missing, as 'straßenbahn'"),
    ],
)
def test_refused(lm: Path, bundle: Path, name: str, content: bytes | None, message: str) -> None:
    if content is None:
        lm.with_name(name).unlink()
    else:
        lm.with_name(name).write_bytes(content)
    with pytest.raises(InputError) as error:
        open_language_model(lm, read_bundle(bundle))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [(["the", "a"], "mark where a word begins"), (["▁THE", "▁A"], "can spell, found 0%")],
)
def test_another_spelling_is_refused(bundle: Path, vocabulary: list[str], message: str) -> None:
    manifest = read_bundle(bundle).model_copy(update={"vocabulary": vocabulary, "blank": 2})
    with pytest.raises(InputError, match=message):
        open_language_model(EMBEDDED_LM, manifest)
