"""`python -m data`, as a process: what it prints and its exit codes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from data import places

ROOT = Path(__file__).parents[2]


def data(*arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "data", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_without_a_release_it_lists_what_is_there() -> None:
    words = [sys.executable, "-m", "data"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "sample" in done.stdout
    assert "COMMON_VOICE=" in done.stdout


def test_it_lists_the_folders_that_the_bench_looks_in(tmp_path: Path) -> None:
    for number, place in enumerate(places.PLACES, 1):
        shutil.copytree(ROOT / places.SAMPLE, tmp_path / "here" / place / "asr_eval" / f"set{number}")
    done = data(folder=tmp_path / "here")
    assert done.returncode == 0, done.stderr
    for number, place in enumerate(places.PLACES, 1):
        assert f"Data sets in {place}" in map(str.strip, done.stdout.splitlines())
        assert f"set{number}" in done.stdout


def test_an_empty_folder_is_an_empty_table(tmp_path: Path) -> None:
    done = data("--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "COMMON_VOICE=" in done.stdout


def test_a_release_becomes_two_sets(tmp_path: Path, make_release: Callable[..., Path]) -> None:
    release = make_release(tmp_path / "de", [2] * 10, lang="de")
    sizes = ("--eval-clips", 8, "--calib-clips", 4, "--seed", 5)
    done = data("--common-voice", release, "--lang", "de", *sizes, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for place in ("asr_eval", "asr_calib"):
        path = tmp_path / "out" / place / "common_voice" / "manifest_de.jsonl"
        assert path.is_file()
        assert f"wrote {path}" in done.stdout
    for expected in ("evaluation", "calibration", " 8 ", " 4 "):
        assert expected in done.stdout
