"""Fork, spawn and pickle: a recogniser belongs to the process that opened it, says so in one line, and never hangs."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from runtime import Recognizer
from tests.bench.toys import calibrated_toy

PROGRAM = dedent(
    """
    import multiprocessing, os, signal, sys
    import numpy as np
    from runtime import Recognizer

    AUDIO = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)

    def opened():
        return Recognizer(sys.argv[1], precision="fp32", backend="onnxruntime-cpu", decoder="ctc")

    def recognise():
        with opened() as recognizer:
            stream = recognizer.stream()
            stream.push(AUDIO)
            assert stream.end_utterance().audio_s == 1.0

    def used(work):
        try:
            work()
            return "done"
        except RuntimeError as error:
            return f"{type(error).__name__}: {error}"

    def drop():
        global recognizer, stream
        del recognizer, stream

    def in_a_fork(name, work, leave):
        sys.stdout.flush()
        child = os.fork()
        if not child:
            signal.alarm(30)  # a hang is a kill
            print(f"{name}: {used(work)}", flush=True)
            leave(0)
        print(f"{name}: exit code {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")

    if __name__ == "__main__":
        recognizer = opened()
        stream = recognizer.stream()
        stream.push(AUDIO)
        uses = {
            "push": lambda: stream.push(AUDIO), "end_utterance": stream.end_utterance, "reset": stream.reset,
            "stream.close": stream.close, "stream": recognizer.stream, "close": recognizer.close, "exit": lambda: None,
            "drop": drop, "open another": recognise, "with": lambda: recognizer.__exit__(),
        }
        for name, work in uses.items():
            in_a_fork(name, work, sys.exit)
        stream.push(AUDIO)
        assert stream.end_utterance().audio_s == 2.0
        spawned = multiprocessing.get_context("spawn").Process(target=recognise)
        spawned.start()
        spawned.join(60)
        print(f"spawn: exit code {spawned.exitcode}")
        recognizer.close()
    """
)
REFUSED = "ClosedError: expected a {} of this process, found one of process "
USES = {
    **dict.fromkeys(("push", "end_utterance", "reset"), REFUSED.format("Stream")),
    "stream": REFUSED.format("Recognizer"),
    **dict.fromkeys(("stream.close", "close", "exit", "drop", "open another", "with"), "done"),
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated_toy(tmp_path_factory.mktemp("processes") / "toy-80ms")


def test_forks_and_spawned_processes(toy: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(program), str(toy)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env={"PYTHONPATH": str(Path.cwd())}
    )
    print(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert said[-1] == "spawn: exit code 0"
    for name, expected in USES.items():
        answer, code = (line for line in said if line.startswith(f"{name}:"))
        assert answer.startswith(f"{name}: {expected}")
        assert expected == "done" or answer.endswith("which this one was forked from; open a Recognizer here")
        assert code == f"{name}: exit code 0"


@pytest.mark.parametrize("refuse", [pickle.dumps, copy.copy, copy.deepcopy])
def test_pickled_or_copied(toy: Path, refuse: object) -> None:
    assert callable(refuse)
    with Recognizer(toy, precision="fp32", backend="onnxruntime-cpu", decoder="ctc") as recognizer:
        for each in (recognizer, recognizer.stream()):
            with pytest.raises(
                TypeError, match=r"^expected what .*; open a Recognizer in each process that needs one$"
            ):
                refuse(each)
