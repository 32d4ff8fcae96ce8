"""The README's and docs/' commands that need a GPU, as they stand: as make plans them with a T4's driver, on the fake T4, with toys."""

import re
import shlex
import subprocess
import sys

import pytest

from bench.suite.stages import Options
from runtime.stamp import plan_path
from tests.bench.test_suite import Children, children, options, speech  # noqa: F401 -- fixtures
from tests.test_readme import Program, indented, programs


def planned(line: str) -> list[Program]:
    """What the line runs in the environment of a T4's driver."""
    (program,) = programs(line)
    if program.words[0] == "make":
        command = [
            "make",
            "-n",
            "--no-print-directory",
            f"PYTHON={sys.executable}",
            "HARDWARE=cuda12",
            *program.words[1:],
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        lines = re.findall(r"\S+-cuda12/bin/python( -m .+)", done.stdout.replace("\\\n", " "))
        return [Program(("python", *shlex.split(words))) for words in lines]
    return [program]


RUN = r"make (engines|bench|ablation|t4)|build/python -m bench (steps|streams|endpoint)"
LINES = [line for line in indented() if re.match(RUN, line) and not re.search("int8|--batched|LANGUAGE", line)]
"""INT8's plan alone is left out, as calibration is not of the GPU's environment: `make ablation` builds and measures it. So are steps of
many streams, of which these toys have no graph: tests/bench/speech/test_streams.py runs them on toys that do. The toys speak English."""
pytestmark = pytest.mark.environments


@pytest.mark.usefixtures("rounding")
@pytest.mark.parametrize("line", LINES)
def test_it_runs(line: str, options: Options, children: Children, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("bench.session.default_backend", lambda: "tensorrt")
    children(["python", "-m", "engines", "--bundle", str(options.bundle), "--precision", "fp16"], 60)
    others = {"-480ms": str(options.large)}  # of an ablation
    on_gpu = planned(line)
    assert on_gpu
    for program in on_gpu:
        words = list(program.words[2:])
        for place, word in enumerate(words):
            if word.startswith("build/bundles/"):
                words[place] = others.get(
                    word[word.rindex("-") :] if words[0:2] == ["bench", "ablation"] else "", str(options.bundle)
                )
            elif words[place - 1] == "--eval":
                words[place] = str(options.eval)
        writes = [] if words[0] == "engines" else ["--out", str(options.out)]
        writes += ["--eval", str(options.eval)] if words[1] in ("endpoint", "streams") else []
        writes += ["--large", str(options.large)] if words[1] == "suite" else []
        children(["python", "-m", *words, *writes], 60)
    assert list(options.out.rglob("*.json")) or plan_path(options.bundle, "fp16").exists()
