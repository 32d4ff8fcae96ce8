"""Barge-in's scenes, what is counted in them, and the whole of it on a few."""

import io
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
from bench.speech.scenes import AGENT_DBFS, scenes
from runtime.errors import InputError

RATE = 16_000


def clip(seed: int, seconds: int = 3) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(f"{seed}.wav", rng.standard_normal(seconds * RATE).astype(np.float32), RATE, "one", None)


def dbfs(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))


def test_scenes_are_at_their_levels_and_drawn_again_the_same() -> None:
    drawn, again = (list(scenes([clip(0), clip(1)], [clip(2)], each=1, seed=3)) for _ in range(2))
    assert len(drawn) == 3 * (3 + 3)
    for scene, other in zip(drawn, again, strict=True):
        microphone = scene.microphone()
        assert np.array_equal(microphone, other.microphone())
        assert dbfs(scene.played) == pytest.approx(AGENT_DBFS, abs=0.01)
        echo = microphone - scene.heard
        if scene.kind == "silence":
            assert dbfs(microphone) == pytest.approx(bargein_scenes.NOISE_DBFS, abs=0.1)
            continue
        assert dbfs(echo[8_000:]) == pytest.approx(AGENT_DBFS - scene.attenuation_db, abs=1.5)
        assert np.abs(echo[: bargein_scenes.DELAY_MS[0] * RATE // 1000 - 1]).max() < 1e-6
        if scene.kind == "user":
            assert dbfs(scene.heard[scene.user_start :]) == pytest.approx(scene.level_dbfs, abs=0.1)
            assert dbfs(scene.heard[: scene.user_start]) == pytest.approx(bargein_scenes.NOISE_DBFS, abs=0.1)


def test_echo_ends_with_the_playback() -> None:
    scene = next(scenes([clip(0)], [clip(2)], each=1, seed=0))
    whole, stopped = scene.microphone(), scene.microphone(stopped=16_000)
    assert np.allclose(whole[:16_000], stopped[:16_000], atol=1e-7)
    assert np.allclose(stopped[16_000 + len(scene.room) :], scene.heard[16_000 + len(scene.room) :], atol=1e-6)


def test_figures_of_outcomes() -> None:
    of = {"attenuation_db": 10, "alone_s": 18.0}
    user = {**of, "kind": "user", "level_dbfs": -26, "user": "a"}
    outcomes = [
        Outcome.model_validate({"reference": reference, **each, "attenuation_db": attenuation})
        for reference in (True, False)
        for attenuation in bargein_scenes.ATTENUATIONS_DB
        for each in (
            {**user, "false_alarms": 0, "detect_ms": 100.0, "words": 4, "words_lost": 1, "first_word_lost": True},
            {**user, "false_alarms": 1, "detect_ms": 200.0, "words": 3, "stale": 2, "leak": True},
            {**user, "false_alarms": 0},
            {**of, "kind": "echo", "level_dbfs": -20, "user": None, "false_alarms": 2},
        )
    ]
    found = {(row.reference, row.attenuation_db, row.level_dbfs): row for row in rows(outcomes)}
    assert len(found) == 2 * 3 * (1 + 3)
    row = found[True, 10, None]
    assert (row.interruptions, row.missed, row.detect_ms_p50, row.detect_ms_p95) == (3, 1, 150.0, 195.0)
    assert (row.false_alarms, row.false_alarms_per_hour) == (3, 150.0)
    assert (row.words, row.words_lost, row.first_words_lost, row.stale, row.leaks) == (7, 1, 1, 2, 1)
    assert found[True, 10, -26].false_alarms == 1
    assert found[False, 30, -20].interruptions == 0
    assert found[False, 30, -20].false_alarms_per_hour is None


def test_the_page_has_users_with_the_reference_by_their_level(a_result: ResultFile, tmp_path: Path) -> None:
    detected: dict[int, list[float | None]] = {-20: [100.0, 110.0, 120.0], -32: [200.0, 300.0, None]}
    outcomes = [
        Outcome(
            reference=reference,
            kind="user",
            attenuation_db=attenuation_db,
            level_dbfs=level,
            user="a.wav",
            alone_s=1.0,
            false_alarms=0,
            detect_ms=detect_ms if reference else 7.0,
            words=4,
            words_lost=1 if level == -32 else 0,
            first_word_lost=level == -32,
        )
        for reference in (True, False)
        for level, values in detected.items()
        for attenuation_db, detect_ms in zip(bargein_scenes.ATTENUATIONS_DB, values, strict=True)
    ]
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
    start = lines.index("| User dBFS | Detect ms p50 / p95 | Missed | Words lost | First words lost |")
    assert lines[start + 2 : start + 5] == [
        "| -32 | 250 / 295 | 1 of 3 | 3 of 12 | 3 |",
        "| -20 | 110 / 119 | 0 of 3 | 0 of 12 | 0 |",
        "",
    ]


@pytest.mark.parametrize(
    ("expected", "found", "lost"),
    [
        ("a b c", "a b c", (3, 0, False)),
        ("a b c", "b c", (3, 1, True)),
        ("a b c", "a c", (3, 1, False)),
        ("a b c", "x b c", (3, 0, False)),
        ("a b", "", (2, 2, True)),
        ("", "a", (0, 0, False)),
    ],
)
def test_words_lost(expected: str, found: str, lost: tuple[int, int, bool]) -> None:
    assert bargein._lost(expected, found) == lost


def test_a_run(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bargein_scenes, "ATTENUATIONS_DB", (30,))
    monkeypatch.setattr(bargein_scenes, "LEVELS_DBFS", (-20,))
    console = Console(file=io.StringIO(), width=120)
    options = Options(bundle=bundle, eval=Path("data/sample"), backend="onnxruntime-cpu", each=1, out=tmp_path)
    written = run(options, ["bargein"], console)
    print_written(written, console)
    assert console.file.getvalue().count("functional check") == 1  # type: ignore[attr-defined]
    assert read_results(tmp_path, BargeInFile) == {written.path.stem: written.result}
    (result,) = read_results(tmp_path, BargeInFile).values()
    assert len(result.scenes) == 2 * (1 + 3)
    assert sum(row.interruptions - row.missed for row in result.rows if row.level_dbfs is None) >= 1
    assert {(row.stale, row.leaks) for row in result.rows} == {(0, 0)}
    written.path.write_text("{}")
    with pytest.raises(InputError, match="no barge-in of schema 1"):
        read_results(tmp_path, BargeInFile)
