"""Ctrl-C and SIGTERM at any moment: exit codes 130 and 143 and nothing printed; a reader that goes away: 141.

What is half written then goes: tests/faults/test_killed.py.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from runtime.audio import load_audio
from runtime.errors import InputError, exit_code
from tests.bench.toys import calibrated_toy

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
AT_AN_IMPORT = dedent(
    """
    import os, runpy, signal, sys

    number, moment, module, *words = sys.argv[1:]
    ready = {signal.SIG_DFL, signal.default_int_handler}
    imports = 0

    def hook(event, _):
        global imports
        if event == "import" and signal.getsignal(int(number)) not in ready:  # until then Python's own start goes on
            imports += 1
            if imports == int(moment):
                os.kill(os.getpid(), int(number))

    sys.addaudithook(hook)
    sys.argv = ["", *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    """
)
"""A command to which a signal comes before its import of so many modules."""
COMMANDS = {
    "runtime": ["--bundle", "TOY", "--backend", "onnxruntime-cpu", "data/sample/clips/16.mp3"],
    "bench": ["run", "--bundle", "TOY", "--eval", "data/sample", "--backend", "onnxruntime-cpu", "--out", "OUT"],
    "calibration": ["--bundle", "TOY", "--data", "data/sample"],
    "calibration.words": ["--bundle", "TOY", "--data", "data/sample"],
    "export": ["--model", "large-random", "--out", "OUT"],
    "engines": ["--bundle", "TOY"],
    "engines.inspect": ["--bundle", "TOY"],
    "data": [],
    "serving.triton": ["--bundle", "TOY", "--out", "OUT"],
}
MOMENTS = pytest.mark.parametrize(
    "moments",
    [
        pytest.param([2, 50], id="two moments"),
        pytest.param([1, *range(10, 2000, 40)], id="many", marks=pytest.mark.soak),
    ],
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated_toy(tmp_path_factory.mktemp("stops") / "toy-80ms")


@SIGNALS
@MOMENTS
@pytest.mark.parametrize("module", COMMANDS)
def test_while_modules_are_imported(
    module: str, moments: list[int], number: signal.Signals, toy: Path, tmp_path: Path
) -> None:
    words = [{"TOY": str(toy), "OUT": str(tmp_path / "out")}.get(word, word) for word in COMMANDS[module]]
    for moment in moments if number == signal.SIGINT else moments[-1:]:
        command = [sys.executable, "-c", AT_AN_IMPORT, str(int(number)), str(moment), module, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if moment > 50 and done.returncode in (0, 2):
            break  # there are no more imports
        assert (done.returncode, done.stderr) == (128 + number, ""), moment
        assert not list(tmp_path.rglob("*.part"))


@SIGNALS
@pytest.mark.parametrize("source", ["a file", "standard input"])
def test_while_it_recognises(source: str, number: signal.Signals, bundle: Path) -> None:
    """Ctrl-C ends the utterance, whose final is shown; SIGTERM ends all."""
    clip, piped = Path("data/sample/clips/01.mp3"), source == "standard input"
    command = [sys.executable, "-m", "runtime", "--backend", "onnxruntime-cpu", "--bundle", str(bundle)]
    command += ["--json", "-"] if piped else ["--realtime", str(clip)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if piped:
            process.stdin.write((load_audio(clip)[:48_000] * 32767).astype("<i2").tobytes())
            process.stdin.flush()
        first = process.stdout.readline()
        process.send_signal(number)
        rest, error = process.communicate(timeout=60)
    assert first
    assert (process.returncode, error) == (128 + number, b"")
    assert (b'"final"' in rest or b"final: " in rest) == (number == signal.SIGINT)


def raised_in_a_destructor() -> None:
    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    Dropped()
    for _ in range(1000):
        signal.sigtimedwait([], 0.01)


def made_another_exception() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise InputError("a library made this of it") from None


@pytest.mark.parametrize(
    "work", [lambda: signal.raise_signal(signal.SIGINT), raised_in_a_destructor, made_another_exception]
)
def test_wherever_it_strikes(work: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook
    assert exit_code(work) == 130
    assert capsys.readouterr().err == ""
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "bench", "--help"],
        ["-m", "bench", "run", "--help"],
        ["-m", "data"],
        ["-m", "setup.doctor"],
        ["-m", "runtime", "--bundle", "TOY", "--backend", "onnxruntime-cpu", "data/sample/clips/16.mp3"],
        ["-m", "runtime", "--bundle", "TOY", "--backend", "onnxruntime-cpu", "data/sample/clips/16.mp3", "--json"],
    ],
    ids=lambda words: " ".join([*words[1:3], *words[7:]]),
)
@pytest.mark.parametrize(("read_on", "code"), [("closed", (141, -signal.SIGPIPE)), ("full", (2,))])
def test_nobody_reads(words: list[str], read_on: str, code: tuple[int, ...], toy: Path) -> None:
    words = [{"TOY": str(toy)}.get(word, word) for word in words]
    if read_on == "full" and "setup.doctor" in words:
        return  # the standard library alone, and nothing is lost
    readable, out = os.pipe() if read_on == "closed" else (None, os.open("/dev/full", os.O_WRONLY))
    if readable is not None:
        os.close(readable)
    done = subprocess.run([sys.executable, *words], stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    os.close(out)
    assert done.returncode in code
    assert done.stderr == ("" if read_on == "closed" else "error: [Errno 28] No space left on device\n")
