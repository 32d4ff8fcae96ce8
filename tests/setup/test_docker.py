"""The Dockerfile's steps, without Docker: what it copies is there, and what it makes is a verb with its knobs."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

DOCKERFILE = Path("Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
STEPS = [tuple(line.split(" ", 1)) for line in DOCKERFILE.splitlines() if re.match(r"[A-Z]+ ", line)]


def lines(instruction: str) -> list[str]:
    return [words for name, words in STEPS if name == instruction]


def test_it_sets_up_recognition_for_cuda_12(checkout: Path) -> None:
    (command,) = [line for line in lines("RUN") if "make setup" in line]
    done = subprocess.run(
        ["bash", "-c", f"{command} -n PYTHON={sys.executable}"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"-m setup\.install (\w+ \w+)", done.stdout)[0] == "cuda12 runtime"
    assert "export" not in done.stdout


def test_set_up_reads_what_is_copied_before_it(checkout: Path) -> None:
    copied = {line.split()[0] for line in lines("COPY")} - {"."}
    assert copied == {path.name for path in checkout.iterdir()}


def test_what_runs_in_it() -> None:
    (entry,), (default,) = lines("ENTRYPOINT"), lines("CMD")
    assert json.loads(entry) == ["build/python", "-m"]
    modules = {json.loads(default)[0], *re.findall(r"streaming-conformer (\w+) --bundle", DOCKERFILE)}
    assert modules == {"runtime", "engines"}
    assert all(find_spec(module) for module in modules)


@pytest.mark.parametrize("name", ["build", ".git", "data/asr_eval", "data/asr_calib"])
def test_what_is_made_or_brought_is_left_out(name: str) -> None:
    assert name in Path(".dockerignore").read_text(encoding="utf-8").splitlines()
