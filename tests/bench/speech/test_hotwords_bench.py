"""The bench's hotwords: what counts as found, false or broken, which words are drawn, and one run on the sample."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from bench.pages.terminal import print_written
from bench.results import read_result
from bench.rows import HotwordsRow
from bench.speech.hotwords import DISTRACTORS, RARE, Counted, Options, counted, hotword_choices, run, unigram
from bench.speech.speech_session import SpeechSession
from runtime.bundle import read_bundle
from runtime.errors import InputError

RARE_WORDS = frozenset({"nemo", "odeon"})
HOTWORDS = RARE_WORDS | {"tree"}


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("the nemo sat", "the nemo sat", Counted(3, 0, 1, 1, 0, 0)),
        ("the nemo sat", "the memo sat", Counted(3, 1, 1, 0, 0, 0)),  # no error of the others
        ("the nemo sat", "the odeon sat", Counted(3, 1, 1, 0, 0, 1)),
        ("the nemo sat", "the nemo sat tree", Counted(3, 1, 1, 1, 1, 1)),
        ("the nemo sat", "the nemo", Counted(3, 1, 1, 1, 1, 0)),
        ("the nemo sat", "a nemo tree", Counted(3, 2, 1, 1, 2, 1)),
        ("the nemo sat", "", Counted(3, 3, 1, 0, 2, 0)),
        ("the three sat", "the tree sat", Counted(3, 1, 0, 0, 1, 1)),
        ("a tree", "a tree", Counted(2, 0, 0, 0, 0, 0)),
        ("nemo nemo", "nemo in nemo", Counted(2, 1, 2, 2, 1, 0)),
    ],
)
def test_what_became_of_the_words(reference: str, hypothesis: str, expected: Counted) -> None:
    assert counted([reference], [hypothesis], RARE_WORDS, HOTWORDS) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Counted(40, 10, 8, 6, 4, 2), (25.0, 8, 75.0, 12.5, 50.0)),
        (Counted(40, 10, 0, 0, 4, 0), (25.0, 0, None, 10.0, 0.0)),
        (Counted(8, 4, 8, 6, 0, 0), (50.0, 8, 75.0, None, 0.0)),
    ],
)
def test_rates_of_the_counts(found: Counted, expected: tuple[float | None, ...]) -> None:
    names = ("wer", "rare_words", "rare_recall", "other_wer", "false_hotwords")
    assert found.keys() == dict(zip(names, expected, strict=True))


def session_of(bundle: Path) -> SpeechSession:
    """As much of a session as choosing needs."""
    recognizer = SimpleNamespace(bundle=read_bundle(bundle), hotwords=tuple)
    return cast("SpeechSession", SimpleNamespace(recognizer=recognizer, options=Options(bundle=bundle)))


def test_rare_words_and_distractors(bundle: Path) -> None:
    texts = ["the chanticleer said", "the pacifist said that that"]
    session = session_of(bundle)
    none, alone, *others = hotword_choices(session, texts, seed=0)
    rare = frozenset({"chanticleer", "pacifist"})
    assert none.words == rare
    assert none.distractors is None
    assert none.hotwords is None
    assert alone.distractors == 0
    assert alone.words == rare
    assert [choice.distractors for choice in others] == list(DISTRACTORS[1:])
    probabilities = unigram(session, ["chanticleer"])
    assert probabilities["chanticleer"] == -float("inf")
    for choice in others:
        drawn = choice.words - rare
        assert len(drawn) == choice.distractors
        assert all(-float("inf") < probabilities[word] < RARE for word in drawn)
    assert others[0].words < others[1].words
    again, other = (list(hotword_choices(session, texts, seed))[-1].words for seed in (0, 1))
    assert again == others[-1].words != other


def options(bundle: Path, out: Path) -> Options:
    return Options(bundle=bundle, eval=Path("data/sample"), limit=3, backend="onnxruntime-cpu", out=out)


def test_one_run_on_the_sample(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=140)
    written = run(options(bundle, tmp_path), ["hotwords"], console)
    print_written(written, console)
    assert "WER of the other words" in capsys.readouterr().out
    rows = read_result(written.path).rows_of(HotwordsRow)
    assert [(row.distractors, row.clips) for row in rows] == [(None, 3), *((number, 3) for number in DISTRACTORS)]
    assert rows[0].decode_times == 1.0
    assert all(row.decode_ms_p50 for row in rows)
    assert len({row.rare_words for row in rows}) == 1


def test_without_a_language_model_no_word_is_rare(bundle: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(bundle, tmp_path / "bundle")
    described = (bare / "bundle.json").read_text()
    (bare / "bundle.json").write_text(json.dumps(json.loads(described) | {"language_model": None}))
    with pytest.raises(InputError, match="expected a bundle with a language model"):
        run(options(bare, tmp_path / "out"), ["hotwords"], Console())
    assert not (tmp_path / "out").exists()
