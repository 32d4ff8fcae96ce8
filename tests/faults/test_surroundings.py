"""A command says the same without a home, in a C locale, optimised, and from a checkout that cannot be written to."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.toys import calibrated_toy
from tests.faults.stages import Processes

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CLIP = Path("data/sample/clips/16.mp3")
READ_ONLY = 'mount --bind . . && mount -o remount,ro,bind . && cd "$PWD" && exec "$@"'


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle and a clip in a folder whose name is not ASCII."""
    folder = tmp_path_factory.mktemp("surroundings") / "bündel Ł"
    calibrated_toy(folder / "toy-80ms")
    shutil.copyfile(CLIP, folder / "ü.mp3")
    return folder / "toy-80ms", folder / "ü.mp3"


def run(*words: object, flags: tuple[str, ...] = (), **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *flags, "-m", *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, encoding="utf-8", check=False, timeout=120)


def recognised(
    places: tuple[Path, Path], flags: tuple[str, ...] = (), **env: str
) -> "subprocess.CompletedProcess[str]":
    bundle, clip = places
    return run("runtime", "--backend", "onnxruntime-cpu", "--bundle", bundle, clip, flags=flags, **env)


@pytest.fixture(scope="module")
def usual(places: tuple[Path, Path]) -> str:
    """What is shown where nothing is unusual."""
    shown = recognised(places).stdout
    assert shown.count("\n") > 3
    return shown


@pytest.mark.parametrize(
    ("flags", "env"),
    [
        ((), {"HOME": "/nonexistent"}),
        ((), {"HOME": "/dev/null", "TMPDIR": "/nonexistent"}),
        ((), C_LOCALE),
        ((), {"PYTHONIOENCODING": "ascii"}),
        (("-O",), {}),
        (("-OO",), {}),
        (("-W", "error::DeprecationWarning:runtime"), {}),
    ],
    ids=str,
)
def test_recognition(places: tuple[Path, Path], usual: str, flags: tuple[str, ...], env: dict[str, str]) -> None:
    here = recognised(places, flags, **env)
    assert (here.returncode, here.stdout, here.stderr) == (0, usual, "")


@pytest.mark.parametrize("flags", [(), ("-OO",)], ids=str)
def test_the_bench_in_a_c_locale(places: tuple[Path, Path], flags: tuple[str, ...], tmp_path: Path) -> None:
    words = ["run", "--backend", "onnxruntime-cpu", "--bundle", places[0], "--eval", "data/sample", "--limit", 1]
    done = run("bench", *words, "--mode", "utterance", "--out", tmp_path / "ö", "--name", "ä", flags=flags, **C_LOCALE)
    assert (done.returncode, done.stderr) == (0, "")
    assert [each.name for each in (tmp_path / "ö").iterdir()] == ["ä.json"]


def test_letters_that_a_terminal_lacks(places: tuple[Path, Path]) -> None:
    done = run("data", "--out", places[0].parent, PYTHONIOENCODING="ascii", COLUMNS="200")
    assert (done.returncode, done.stderr) == (0, "")
    assert "b\\xfcndel \\u0141" in done.stdout


def test_a_program_in_a_c_locale_is_told(places: tuple[Path, Path]) -> None:
    program = "import sys\nfrom runtime import Recognizer\ntry:\n    Recognizer(sys.argv[1])\nexcept ValueError as error:\n    print(error)"
    command = [sys.executable, "-c", program, str(places[0])]
    done = subprocess.run(command, env=C_LOCALE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert done.stdout.startswith("expected a name in the locale's letters, found '")
    assert done.stdout.endswith("; set PYTHONUTF8=1, or a locale with UTF-8 such as C.UTF-8\n")


def test_a_checkout_that_cannot_be_written_to(places: tuple[Path, Path], usual: str, tmp_path: Path) -> None:
    namespace = ["unshare", "--user", "--mount", "--map-root-user", "sh", "-c"]
    tried = subprocess.run([*namespace, READ_ONLY, "sh", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"a mount of one's own is not allowed here: {tried.stderr.strip()}")
    bundle, clip = places
    python = [*namespace, READ_ONLY, "sh", sys.executable, "-m"]
    words = ["--backend", "onnxruntime-cpu", "--bundle", str(bundle)]
    done = subprocess.run([*python, "runtime", *words, str(clip)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, usual, "")
    words += ["--eval", "data/sample", "--limit", "1"]
    done = subprocess.run([*python, "bench", "run", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected to write build/results/")
    assert "found: Read-only file system" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "warm-up" not in done.stdout, "it was measured first"
    words += ["--mode", "utterance", "--out", str(tmp_path)]
    done = subprocess.run([*python, "bench", "run", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("stage", [pytest.param("export", marks=pytest.mark.nemo), "calibration", "build"])
def test_two_at_once(stage: str, processes: Processes, tmp_path: Path) -> None:
    """The second waits, finds what the first made, and says so."""
    assert processes.run(stage, "before", tmp_path).code == 0
    done = processes.run_twice_at_once(stage, tmp_path)
    assert [each.code for each in done] == [0, 0], [each.said for each in done]
    assert sum("wrote" in each.said for each in done) == 1
    assert sum("is up to date" in each.said for each in done) == 1
    read = processes.run(stage, "read", tmp_path)
    assert read.code == 0, read.said
    assert not list(tmp_path.rglob("*.part"))
