"""Which language model a bundle gets, and what is refused in one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from runtime import InputError, Recognizer
from runtime.bundle import read_bundle
from runtime.decoders.beam import BeamCtc
from runtime.decoders.greedy import GreedyCtc
from runtime.decoders.ngram import LmChoice, open_language_model


@pytest.fixture
def lm(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the embedded language model, to be damaged."""
    shutil.copy(bundle / "lm_words.txt", tmp_path / "lm_en_words.txt")
    return Path(shutil.copy(bundle / "lm.kenlm", tmp_path / "lm_en_4gram.kenlm"))


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("default", "lm_en_4gram"),
        ("none", None),
        (None, None),
        ("{lm}", "lm_en_4gram"),
        ("{path}", "lm_en_4gram"),
        ("{named}", "mine"),
    ],
)
def test_choices(bundle: Path, lm: Path, choice: str | None, name: str | None) -> None:
    named = lm.with_name("streaming_fastconformer_ctc_en_small.mine.kenlm")
    shutil.copy(lm, named)
    shutil.copy(lm.with_name("lm_en_words.txt"), named.with_name(f"{named.stem}_words.txt"))
    files: dict[str | None, LmChoice] = {"{lm}": str(lm), "{path}": lm, "{named}": named}
    with Recognizer(str(bundle), backend="onnxruntime-cpu", lm=files.get(choice, choice)) as recognizer:
        assert (recognizer.ngram.name if recognizer.ngram else None) == name
        assert isinstance(recognizer.new_decoder(), BeamCtc if name else GreedyCtc)
        assert isinstance(recognizer.new_decoder(language_model=False), GreedyCtc)


def test_a_stream_without_one(bundle: Path, sample: list[tuple[str, np.ndarray]]) -> None:
    def text(recognizer: Recognizer, hotwords: list[str], *, language_model: bool) -> str:
        stream = recognizer.stream(hotwords=hotwords, early="off", language_model=language_model)
        stream.push(sample[0][1])
        return stream.end_utterance().text

    with Recognizer(bundle) as recognizer, Recognizer(bundle, lm=None) as greedy:
        for hotwords in ([], ["table"]):
            found = text(recognizer, hotwords, language_model=False)
            assert found == text(greedy, hotwords, language_model=True)
        assert text(recognizer, [], language_model=True) != found


def test_a_bundle_without_one_is_greedy(bundle: Path) -> None:
    manifest = read_bundle(bundle).model_copy(update={"language_model": None})
    assert open_language_model("default", bundle, manifest) is None


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
        open_language_model(lm, bundle, read_bundle(bundle))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [(["the", "a"], "mark where a word begins"), (["▁THE", "▁A"], "can spell, found 0%")],
)
def test_another_spelling_is_refused(bundle: Path, vocabulary: list[str], message: str) -> None:
    manifest = read_bundle(bundle).model_copy(update={"vocabulary": vocabulary, "blank": 2})
    with pytest.raises(InputError, match=message):
        open_language_model("default", bundle, manifest)
