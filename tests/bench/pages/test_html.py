"""The page of a run: its errors are jiwer's, no text becomes markup, nothing comes from elsewhere; bad input is one line and no page."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import jiwer
import pytest

from bench.__main__ import run
from bench.pages import html as report
from bench.pages import sound
from bench.pages.html import newest, page
from bench.partials import Shown
from bench.results import ResultFile, read_result, write_result
from bench.rows import UtteranceRecord
from bench.score.normalise import normalise
from bench.speech.waterfall import STAGES
from runtime.audio import load_audio
from runtime.errors import InputError, exit_code
from runtime.words import Word
from tests.bench.rows import changed

EVIL = "</p><script>alert('x')</script> \"quoted\" & <b>bold</b> {{ name }}"


def said(reference: str, hypothesis: str, **more: object) -> UtteranceRecord:
    known = {"data": "set_en", "mode": "utterance", "audio": "a.wav", "audio_s": 2.0, "final_ms": 5.0}
    return UtteranceRecord.model_validate(known | {"reference": reference, "hypothesis": hypothesis} | more)


def of(a_result: ResultFile, *utterances: UtteranceRecord, **row: object) -> ResultFile:
    rows = [changed(a_result.rows[0], row)]
    return a_result.model_copy(update={"utterances": list(utterances), "rows": rows})


@dataclass
class Words:
    """A transcript as the page shows it: (how it is marked, words), in order."""

    marked: list[tuple[str, str]] = field(default_factory=list)

    def of(self, *kinds: str) -> str:
        return " ".join(" ".join(words for kind, words in self.marked if kind in kinds).split())

    def count(self, kind: str) -> int:
        return len(self.of(kind).split())


class Page(HTMLParser):
    """What a browser makes of the page, as far as the tests ask."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.transcripts: list[Words] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[object] = []
        self.starts: list[float] = []
        self.sounds = 0
        self.bold: list[str] = []
        self._inside: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        self.links += [known[key] for key in ("src", "href", "xlink:href", "srcset", "action", "data") if key in known]
        if "data-texts" in known:
            self.texts.append(json.loads(known["data-texts"]))
        if "data-start" in known:
            self.starts.append(float(known["data-start"]))
        self.sounds += tag == "audio"
        if known.get("class") == "words":
            self.transcripts.append(Words())
        if tag in ("p", "span", "del", "ins", "b", "script", "style"):
            self._inside.append((tag, known.get("class", "")))

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1][0] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1][0] == "b":
            self.bold.append(data)
        if not any(each == ("p", "words") for each in self._inside):
            return
        tag = self._inside[-1][0]
        substituted = any(each == ("span", "substitution") for each in self._inside)
        self.transcripts[-1].marked.append((f"{'substitution ' if substituted else ''}{tag}", data))


TRANSCRIPTS = [
    ("The cat sat.", "the cat sat"),
    ("the cat sat on the mat", "the hat sat the big mat"),
    ("one two three", ""),
    ("one", "two three four"),
    ("a b c d e f", "b c x y f g"),
    ("Mr. O'Neil's café, well-known", "mister oneils cafe well known to"),
]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("reference", "hypothesis"), TRANSCRIPTS)
def test_errors_are_marked_as_jiwer_counts_them(reference: str, hypothesis: str, a_result: ResultFile) -> None:
    (shown,) = Page(page("a", of(a_result, said(reference, hypothesis)))).transcripts
    expected, found = normalise(reference, "en"), normalise(hypothesis, "en")
    counted = jiwer.process_words(expected, found)
    assert shown.count("substitution del") == shown.count("substitution ins") == counted.substitutions
    assert (shown.count("del"), shown.count("ins"), shown.count("p")) == (
        counted.deletions,
        counted.insertions,
        counted.hits,
    )
    assert shown.of("p", "del", "substitution del") == expected
    assert shown.of("p", "ins", "substitution ins") == found


@pytest.mark.usefixtures("undrawn")
def test_the_worst_come_first(a_result: ResultFile) -> None:
    clips = [("a b", "a b", "none.wav"), ("a b", "c d e", "worst.wav"), ("a b c", "a b", "some.wav")]
    result = of(a_result, *(said(*texts, audio=audio) for *texts, audio in clips))
    assert Page(page("a", result)).bold == ["worst.wav", "some.wav", "none.wav"]


def test_no_text_becomes_markup(a_result: ResultFile) -> None:
    partials = (Shown(0.5, "</p><sc", 1), Shown(0.66, EVIL, 1, early=3))
    words = tuple(Word(text, 0.5, 0.6, 0.5) for text in EVIL.split(" "))
    evil = said(EVIL, EVIL, audio=EVIL, data=f"{EVIL}_en", partials=partials, words=words)
    result = of(a_result, evil, data=f"{EVIL}_en", model=EVIL, lm=EVIL).model_copy(update={"definitions": {EVIL: EVIL}})
    plain = Page(page("a", of(a_result, said("a", "a", partials=(Shown(0.5, "a"), Shown(0.6, "b"))))))
    found = Page(page(EVIL, result))
    assert found.tags.count("script") == plain.tags.count("script") == 1
    assert found.tags.count("b") == plain.tags.count("b")
    assert found.bold == [EVIL]
    first = len(EVIL.split(" ", maxsplit=1)[0])
    assert found.texts == [
        [[0.5, 0, "</p><sc", 7, 0], [0.66, 7, EVIL[7:], first, 3], [2.0, len(EVIL), "", len(EVIL), 0]]
    ]
    assert found.starts == [0.5] * len(words)
    assert "{{ name }}" in page(EVIL, result)


def test_nothing_comes_from_elsewhere(a_result: ResultFile) -> None:
    measured = {"step_ms_p50": 1.0, "step_ms_p99": 2.0, "data": "a$b$_en"}
    clip = said("a b", "a", data="a$b$_en", mode="endpoint", waterfall=dict.fromkeys(STAGES, 2.0))
    result = of(a_result, clip, clip, mode="endpoint", **measured)
    text = page("a", result)
    found = Page(text)
    assert found.tags.count("figure") == found.tags.count("svg") == 4
    assert [link for link in found.links if not link.startswith("#")] == ["data:,"]
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|fetch\(|XMLHttp", text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)


@pytest.mark.usefixtures("undrawn")
def test_random_weights_have_no_errors(a_result: ResultFile) -> None:
    result = of(a_result, said("a b", "xyz q", partials=(Shown(1.0, "xyz"),)), wer=None, weights="random")
    found = Page(page("a", result))
    assert found.transcripts[0].marked == [("p", "xyz q")]
    assert "no WER" in page("a", result)
    assert not {"del", "ins"} & set(found.tags)
    assert len(found.texts) == 1


WORDS = (Word("set", 0.72, 0.8, 0.9), Word("a", 0.96, 0.96, 0.99))


@pytest.mark.usefixtures("undrawn")
def test_why_a_clip_has_no_sound(a_result: ResultFile, monkeypatch: pytest.MonkeyPatch) -> None:
    length_s = len(load_audio("data/sample/clips/16.mp3")) / 16_000
    of_sample = {"data": "sample_en", "words": WORDS, "audio_s": length_s}
    here, other, later, wordless = (
        said("a b", "set a", audio=f"clips/{name}.mp3", **of_sample | more)
        for name, more in (("16", {}), ("17", {}), ("15", {}), ("16", {"words": None, "mode": "continuous"}))
    )
    for records, minutes, sounds, note in (
        ([here], 25.0, 1, ""),
        (
            [here, other],
            25.0,
            1,
            "Without sound: 1 clip whose recordings are not here: --eval names",
        ),  # of another length
        ([here, other, later], 1.5 * length_s / 60, 1, "Without sound: 2 clips beyond the "),
        ([other, later], 25.0, 0, "Without sound: 2 clips whose recordings are not here"),
    ):
        monkeypatch.setattr(sound, "MOST_MINUTES", minutes)
        text = page("a", of(a_result, *records, data="sample_en"))
        assert (Page(text).sounds, text.count(", without sound")) == (sounds, len(records) - sounds)
        assert Page(text).starts == [0.72, 0.96] * len(records)
        assert note in text
        assert ("Without sound: " in text) == bool(note)
    text = page("a", of(a_result, wordless, data="sample_en", mode="continuous"))
    assert (Page(text).sounds, Page(text).starts, "ithout sound" in text) == (0, [], False)


COMMITTED = [
    "ablation-small-h200",
    "streaming_fastconformer_ctc_en_small-80ms-fp32-onnxruntime-cpu-lm-endpoint-asr_eval-en",
]


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_results_have_a_page(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "MOST_MINUTES", 0.5)  # a quarter of an hour is neither decoded nor encoded
    result = read_result(Path(f"bench/results/{name}.json"))
    found = Page(page(name, result))
    assert len(found.transcripts) == len(result.utterances)
    assert not any(found.texts)  # of partials, which neither keeps
    assert bool(found.starts) == any(each.words for each in result.utterances)


@pytest.mark.usefixtures("undrawn")
def test_the_newest_with_transcripts(a_result: ResultFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = (tmp_path / "made", tmp_path / "committed", tmp_path / "missing")
    monkeypatch.setattr(report, "FOLDERS", folders)
    with pytest.raises(InputError, match="found none; `make bench` writes one"):
        newest()
    spoken = of(a_result, said("a", "a"))
    for path, date, result in (
        (folders[0] / "old.json", "2026-01-01", spoken),
        (folders[1] / "new.json", "2026-01-03", spoken),
        (folders[0] / "steps.json", "2026-01-04", a_result),
    ):
        provenance = result.provenance.model_copy(update={"date": f"{date}T00:00:00+00:00"})
        write_result(path, result.model_copy(update={"provenance": provenance}))
    monkeypatch.chdir(tmp_path)
    run(["report"])
    assert [path.name for path in (tmp_path / "build" / "reports").iterdir()] == ["new.html"]
    run(["report", "made/old.json", "--out", "a.html"])
    assert Page((tmp_path / "a.html").read_text()).transcripts


@pytest.mark.usefixtures("undrawn")
def test_bad_input(a_result: ResultFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(tmp_path / "none.json", a_result)
    write_result(tmp_path / "lang.json", of(a_result, said("a", "a", data="set_xx"), data="set_xx"))
    write_result(tmp_path / "row.json", of(a_result, said("a", "a", data="other_en")))
    out = tmp_path / "page.html"
    for name, message in (
        ("none", "expected a result with transcripts, found none"),
        ("lang", "expected texts in a language out of en, de, found 'xx'"),
        ("row", "expected a row of other_en, utterance, found none"),
    ):
        argv = ["report", str(tmp_path / f"{name}.json"), "--out", str(out)]
        assert exit_code(lambda argv=argv: run(argv)) == 2  # type: ignore[misc]
        error = capsys.readouterr().err
        assert message in error
        assert (error[:7], error.count("\n")) == ("error: ", 1)
        assert not out.exists()
    write_result(tmp_path / "good.json", of(a_result, said("a", "a")))
    argv = ["report", str(tmp_path / "good.json"), "--out", str(tmp_path)]
    assert exit_code(lambda: run(argv)) == 2
    assert f"expected to write {tmp_path}, found" in capsys.readouterr().err
