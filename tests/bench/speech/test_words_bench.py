"""Words beside their references: what is counted of whom, PocketSphinx's segments, and runs on the sample with either source of times."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.pages.published import read_published
from bench.pages.question_pages import question_pages
from bench.pages.terminal import print_written
from bench.results import read_result, write_result
from bench.rows import WordsRow
from bench.speech.alignment import OF_DATA, OF_POCKETSPHINX, align, open_aligner, spoken_words
from bench.speech.words import Judged, Options, confidence_keys, judged, run, time_keys
from data.word_times import SpokenWord
from runtime.audio import load_audio
from runtime.bundle import read_bundle, write_manifest
from runtime.errors import InputError
from runtime.words import Word

SAMPLE = Path("data/sample")


def word(text: str, start_s: float, end_s: float, confidence: float = 0.5) -> Word:
    return Word(text, start_s, end_s, confidence)


def spoken(*words: tuple[str, float | None, float | None]) -> list[SpokenWord]:
    return [SpokenWord(text=text, start_s=start_s, end_s=end_s) for text, start_s, end_s in words]


def test_words_beside_their_reference() -> None:
    recognised = [word("a", 0.0, 0.1), word("well-known", 0.5, 1.0, 0.9), word("⁇", 1.0, 1.1), word("fax", 1.1, 1.5)]
    told = spoken(("a", None, None), ("well", 0.4, 0.7), ("known", 0.7, 1.25), ("fact", 1.25, 1.5))
    right = Judged(0.9, True, pytest.approx(0.1), pytest.approx(-0.25))  # type: ignore[arg-type]
    expected = [Judged(0.5, True, None, None), right, Judged(0.5, False, None, None)]
    assert judged("A well-known fact!", recognised, told, "en") == expected
    untimed = [Judged(each.confidence, each.right, None, None) for each in expected]
    assert judged("A well-known fact!", recognised, None, "en") == untimed


def test_figures_by_hand() -> None:
    words = [
        Judged(0.9, True, 0.1, -0.1),
        Judged(0.7, True, -0.3, 0.0),
        Judged(0.6, True, 0.2, 0.3),
        Judged(0.8, True, None, None),
        Judged(0.1, False, None, None),
    ]
    times = time_keys(words)
    assert times == {
        "words_timed": 3,
        "word_start_ms_p50": pytest.approx(200),
        "word_start_ms_p95": pytest.approx(290),
        "word_start_bias_ms": pytest.approx(100),
        "word_end_ms_p50": pytest.approx(100),
        "word_end_ms_p95": pytest.approx(280),
        "word_end_bias_ms": pytest.approx(0),
    }
    sure = confidence_keys(words)
    assert (sure["confidence"], sure["words_right"], sure["confidence_auc"]) == pytest.approx((0.62, 0.8, 1.0))
    assert sure["confidence_ece"] == pytest.approx((0.1 + 0.3 + 0.4 + 0.2 + 0.1) / 5)
    assert time_keys([]) == dict.fromkeys(times) | {"words_timed": 0}
    assert confidence_keys([]) == {}


@dataclass
class Segment:
    """As PocketSphinx gives them."""

    word: str
    start_frame: int
    end_frame: int


def test_segments_without_silence_noise_and_alternatives() -> None:
    segments = [
        ("<s>", 0, 9),
        ("the(2)", 10, 19),
        ("<sil>", 20, 29),
        ("[NOISE]", 30, 30),
        ("cat", 31, 60),
        ("</s>", 61, 70),
    ]
    found = spoken_words(Segment(*each) for each in segments)
    assert found == spoken(("the", 0.1, 0.2), ("cat", 0.31, 0.61))


def test_what_cannot_be_aligned_is_none_and_leaves_the_aligner_usable() -> None:
    aligner = open_aligner("en", 16_000)
    samples = load_audio(SAMPLE / "clips" / "01.mp3")
    words = ["hi", "there", "can", "you", "hear", "me"]
    whole = align(aligner, samples, words)
    assert whole is not None
    assert [each.text for each in whole] == words
    assert align(aligner, samples, [*words, "grblfx"]) is None, "not in the dictionary"
    assert not align(aligner, samples[:800], words), "50 ms hold no six words"
    assert align(aligner, samples, words) == whole


def test_on_the_sample_by_its_own_times(bundle: Path, tmp_path: Path) -> None:
    options = Options(bundle=bundle, eval=SAMPLE, backend="onnxruntime-cpu", lm="none", limit=6, out=tmp_path)
    console = Console(width=120, record=True)
    written = run(options, ["words"], console)
    result = read_result(written.path)
    assert result == written.result
    (row,) = result.rows_of(WordsRow)
    print(row)
    assert row.words is not None
    assert row.words_timed is not None
    assert row.words >= row.words_timed > 50
    assert (row.clips, row.unaligned, row.functional_check, row.step_ms_p50) == (6, 0, False, None)
    assert row.reliability is not None
    assert sum(each.words for each in row.reliability) == row.words
    assert row.word_start_ms_p50 is not None
    assert row.word_start_ms_p50 < 80
    assert row.word_start_ms_p95 is not None
    assert row.word_start_ms_p95 < 200
    assert result.definitions["spoken"].endswith(OF_DATA)
    assert [record.mode for record in result.utterances] == ["words"] * 6
    print_written(written, console)
    shown = console.export_text()
    assert "Times of words" in shown
    assert max(len(line) for line in shown.splitlines() if not line.startswith("wrote")) <= 120

    rows = [row.with_(limit=None)]
    write_result(tmp_path / "published" / "words.json", result.with_(rows=rows))
    pages = question_pages(read_published(tmp_path / "published"))
    assert "![Confidence of words](plots/reliability.svg)" in pages["words.md"]
    assert f"{row.word_start_ms_p50:.0f} / {row.word_start_ms_p95:.0f}" in pages["words.md"]
    assert "words.md" in pages["README.md"]


def test_by_pocketsphinx_and_without_what_its_dictionary_lacks(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(SAMPLE / "clips", folder / "clips")
    lines = [json.loads(line) for line in (SAMPLE / "manifest_en.jsonl").read_text().splitlines()[:3]]
    lines[1]["text"] += " Grblfx."
    (folder / "manifest_en.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    written = run(Options(bundle=bundle, eval=folder, backend="onnxruntime-cpu", out=tmp_path), ["words"], Console())
    (row,) = read_result(written.path).rows_of(WordsRow)
    assert (row.clips, row.unaligned, row.lm) == (3, 1, "lm_en_4gram")
    assert row.words_timed is not None
    assert 15 < row.words_timed < 26, "of two clips"
    assert written.result.model_dump()["definitions"]["spoken"].endswith(OF_POCKETSPHINX)


def test_speech_that_pocketsphinx_has_no_model_for_writes_nothing(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    shutil.copy(SAMPLE / "clips" / "01.mp3", folder)
    line = {"audio_filepath": "01.mp3", "text": "Guten Tag", "duration": 2.118}
    (folder / "manifest_de.jsonl").write_text(json.dumps(line))
    german = Path(shutil.copytree(bundle, tmp_path / "german", copy_function=os.link))
    write_manifest(german, read_bundle(bundle).model_copy(update={"language": "de"}))
    with pytest.raises(
        InputError, match=r"^expected speech that PocketSphinx aligns, .*found de at 16000 Hz; put words"
    ):
        run(Options(bundle=german, eval=folder, lang="de", out=tmp_path / "out"), [], Console())
    assert not (tmp_path / "out").exists()


def test_equal_confidence_tells_nothing() -> None:
    keys = confidence_keys([Judged(0.5, number % 2 == 0, None, None) for number in range(10)])
    assert (keys["confidence_auc"], keys["confidence_ece"]) == (0.5, 0.0)
    np.testing.assert_equal([each.words for each in keys["reliability"]], [10])
