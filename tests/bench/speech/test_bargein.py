"""Barge-in's scenes, what is counted in them, and the whole of it on a few."""

import io
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.pages.published import read_published
from bench.pages.question_pages import question_pages
from bench.pages.terminal import print_written
from bench.results import ResultFile, read_results, write_result
from bench.speech import bargein
from bench.speech import scenes as bargein_scenes
from bench.speech.bargein import DEFINITIONS, BargeInFile, Options, Outcome, rows, run
from bench.speech.clips import Clip
from bench.speech.scenes import AGENT_DBFS, Voice, scenes
from data.manifest import read_manifest, write_manifest
from data.voiced import Speech
from runtime.errors import InputError

RATE = 16_000
SAMPLE = Path("data/sample")


def voice(seed: int, seconds: int = 3, onset_s: float = 0.5) -> Voice:
    """Noise of which all but the first half second is speech."""
    rng = np.random.default_rng(seed)
    speech = Speech(onset_s, float(seconds))
    samples = rng.standard_normal(seconds * RATE).astype(np.float32)
    samples[: int(onset_s * RATE)] *= 1e-3
    return Clip(f"{seed}.wav", samples, RATE, "one", speech), speech


def dbfs(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))


def test_scenes_are_at_their_levels_and_drawn_again_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bargein_scenes, "ECHO_SCENES", 2)
    monkeypatch.setattr(bargein_scenes, "BURST_SCENES", 1)
    drawn, again = (list(scenes([voice(0), voice(1)], [voice(2)], each=1, seed=3)) for _ in range(2))
    kinds = [scene.kind for scene in drawn]
    assert [kinds.count(kind) for kind in ("user", "echo", "bursts")] == [5 * 4 * 3, 3 * 2, 4]
    starts = iter(bargein_scenes.STARTS_S)
    low, high = 0.0, 0.0
    for place, (scene, other) in enumerate(zip(drawn, again, strict=True)):
        microphone = scene.microphone()
        assert np.array_equal(microphone, other.microphone())
        echo = microphone - scene.heard
        if scene.attenuation_db is None:
            assert np.abs(echo).max() < 1e-6
        else:
            delay = int(np.argmax(np.abs(scene.room) > 0))
            heard = scene.played[: len(echo) - delay - 480]
            assert dbfs(echo[delay + 240 : -240]) == pytest.approx(dbfs(heard) - scene.attenuation_db, abs=2.5)
            assert bargein_scenes.DELAY_MS[0] <= delay / RATE * 1000 <= bargein_scenes.DELAY_MS[1]
        if scene.kind == "user":
            low, high = next(starts) if place % 12 == 0 else (low, high)
            assert low * RATE <= scene.onset <= high * RATE
            assert dbfs(scene.heard[scene.onset :]) == pytest.approx(scene.level_dbfs, abs=0.1)
            before = scene.heard[: max(0, scene.onset - RATE // 2)]
            assert not len(before) or dbfs(before) == pytest.approx(bargein_scenes.NOISE_DBFS, abs=0.5)
        else:
            assert dbfs(scene.played) == pytest.approx(AGENT_DBFS, abs=0.3)
            assert (dbfs(scene.heard) > -65) is (scene.kind == "bursts")


def test_echo_ends_with_the_playback() -> None:
    scene = next(islice(scenes([voice(0)], [voice(2)], each=1, seed=0), 36, None))
    whole, stopped = scene.microphone(), scene.microphone(stopped=16_000)
    assert np.allclose(whole[:16_000], stopped[:16_000], atol=1e-7)
    assert np.allclose(stopped[16_000 + len(scene.room) :], scene.heard[16_000 + len(scene.room) :], atol=1e-6)


def test_figures_of_outcomes() -> None:
    user = {"kind": "user", "level_dbfs": -26, "user": "a", "attenuation_db": 10, "onset_s": 1.5, "false_alarms": 0}
    found_one = {"words": 4, "words_lost": 1, "first_word_alone": True}
    outcomes = [
        Outcome.model_validate(of)
        for of in (
            {**user, **found_one, "detect_ms": 100.0, "first_word": True},
            {**user, "detect_ms": 200.0, "words": 3, "stale": 2, "leak": True, "first_word_alone": True},
            {**user, "onset_s": 0.25},
            {**user, "attenuation_db": None, "level_dbfs": -32, "false_alarms": 1},
            {"kind": "echo", "attenuation_db": 10, "level_dbfs": -20, "onset_s": 18.0, "false_alarms": 2},
            {"kind": "bursts", "attenuation_db": 10, "level_dbfs": -20, "onset_s": 36.0, "false_alarms": 3},
        )
    ]
    found = {row.scenes: row for row in rows(outcomes)}
    assert len(found) == 1 + 5 + 4 + 3
    row = found["from 0.5 s on"]
    assert (row.interruptions, row.missed, row.detect_ms_p50, row.detect_ms_p95) == (3, 1, 150.0, 195.0)
    assert (row.echo_alarms, row.burst_alarms) == (2, 3)
    assert (row.echo_hours, row.burst_hours) == pytest.approx((21 / 3600, 36 / 3600), abs=1e-4)
    assert (row.words, row.words_lost, row.first_words, row.first_words_alone) == (7, 1, 1, 2)
    assert (row.stale, row.leaks) == (2, 1)
    assert found["0 to 0.5 s"].missed == found["0 to 0.5 s"].interruptions == 1
    assert (found["headset"].interruptions, found["headset"].echo_hours) == (1, 0)
    assert found["echo -10 dB"].echo_alarms == 2
    assert found["user -32 dBFS"].missed == 1
    assert found["user -20 dBFS"].interruptions == 0


def test_the_page_has_a_row_for_what_scenes_have_in_common(a_result: ResultFile, tmp_path: Path) -> None:
    outcomes = [
        Outcome(
            kind="user",
            attenuation_db=10,
            level_dbfs=-32,
            user="a.wav",
            onset_s=1.5,
            false_alarms=0,
            detect_ms=detect_ms,
            words=4,
            words_lost=1,
            first_word=detect_ms is not None,
            first_word_alone=True,
        )
        for detect_ms in (200.0, 300.0, None)
    ]
    outcomes.append(Outcome(kind="echo", attenuation_db=10, level_dbfs=-32, onset_s=720.0, false_alarms=1))
    result = BargeInFile(
        provenance=a_result.provenance,
        model="m",
        lookahead_ms=80,
        precision="fp32",
        backend="onnxruntime-cpu",
        functional_check=True,
        rules={"confirming_token": False},
        seed=0,
        rows=rows(outcomes),
        definitions=DEFINITIONS,
        scenes=outcomes,
    )
    write_result(tmp_path / "bargein" / "b.json", result)
    lines = question_pages(read_published(tmp_path))["bargein.md"].splitlines()
    (line,) = [line for line in lines if line.startswith("| echo -10 dB ")]
    assert line == "| echo -10 dB | 250 / 295 | 1 of 3 | 2 / 3 | 3 of 12 | 1 in 0.2 h | - | 0 | 0 |"


@pytest.mark.parametrize(
    ("expected", "found", "lost", "first"),
    [
        ("a b c", "a b c", (3, 0), True),
        ("a b c", "b c", (3, 1), False),
        ("a b c", "a c", (3, 1), True),
        ("a b c", "x b c", (3, 0), False),
        ("a b c", "x a b c", (3, 0), True),
        ("a b", "", (2, 2), False),
    ],
)
def test_words_lost_and_first_words(expected: str, found: str, lost: tuple[int, int], first: bool) -> None:
    assert bargein._lost(expected, found) == lost
    assert bargein._first_word(expected, found) is first


def test_a_run(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bargein_scenes, "STARTS_S", ((0.5, 1.0),))
    monkeypatch.setattr(bargein_scenes, "ATTENUATIONS_DB", (30, None))
    monkeypatch.setattr(bargein_scenes, "LEVELS_DBFS", (-20,))
    monkeypatch.setattr(bargein_scenes, "ECHO_SCENES", 1)
    monkeypatch.setattr(bargein_scenes, "BURST_SCENES", 1)
    monkeypatch.setattr(bargein_scenes, "ALONE_S", 5.0)
    write_manifest(tmp_path / "few" / "manifest_en.jsonl", read_manifest(SAMPLE / "manifest_en.jsonl")[:3])
    console = Console(file=io.StringIO(), width=120)
    options = Options(bundle=bundle, eval=tmp_path / "few", backend="onnxruntime-cpu", each=1, out=tmp_path)
    written = run(options, ["bargein"], console)
    print_written(written, console)
    assert console.file.getvalue().count("functional check") == 1  # type: ignore[attr-defined]
    assert read_results(tmp_path, BargeInFile) == {written.path.stem: written.result}
    (result,) = read_results(tmp_path, BargeInFile).values()
    assert [scene.kind for scene in result.scenes] == ["user", "user", "echo", "bursts", "bursts"]
    assert (result.rows[0].interruptions, result.rows[0].missed, result.rows[0].echo_alarms) == (2, 0, 0)
    assert {(row.stale, row.leaks) for row in result.rows} == {(0, 0)}
    written.path.write_text("{}")
    with pytest.raises(InputError, match="no barge-in of schema 1"):
        read_results(tmp_path, BargeInFile)
