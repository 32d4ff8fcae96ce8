"""The README and docs/ work as they stand: their Python runs, their commands run or are parsed, their links and verbs are there.

An indented block is commands and nothing else. Each is parsed by the parser that it is for, make's by a dry run whose own commands are
parsed in turn; what needs neither a GPU, a server, a microphone nor a download is run, on the sample.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from runtime.audio import load_audio
from tests import forks

GUIDES = ["README.md", "CONTRIBUTING.md", *map(str, sorted(Path("docs").glob("*.md")))]
DOCUMENTS = [*GUIDES, "DESIGN.md", "RESULTS.md", "data/sample/README.md", *map(str, Path("bench/results").glob("*.md"))]
TEXT = "\n".join(Path(guide).read_text(encoding="utf-8") for guide in GUIDES)
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
PROSE = re.sub(r"```\w*\n.*?```\n", "", TEXT, flags=re.DOTALL)

PYTHON = ("build/python", "python")
ENVIRONMENTS = re.compile(r"build/venv-[^/]+/bin/python ")
"""What make runs: build/python or, on a machine with a GPU, the CPU's environment."""
FOREIGN = ("pip", "pytest", "ruff", "mypy")  # modules whose parsers are not ours
NOT_HERE = {
    "engines": "TensorRT",
    "bench int8": "calibration speech, which data/sample is not",
    "bench steps": "a GPU",
    "bench batch": "a GPU",
    "bench ladder": "a GPU",
    "bench streams": "a GPU",
    "bench project": "the 114 M bundle, minutes to export",
    "runtime --mic": "a microphone",
    "serving.triton.client": "a Triton server",
    "serving.triton.plan_client": "a Triton server",
    "serving.triton.health": "a Triton server",
    "serving.triton --plan": "a plan, which a GPU builds",
}
"""Commands that hold these words are only parsed, as what they need is missing here."""
MEASURING = {"endpoint", "hotwords", "words"}
"""Of the bench: hours of speech where there are as many. Like `make bench` they get one clip."""
RESULT = "bench/results/streaming_fastconformer_ctc_en_small-80ms-{}-onnxruntime-cpu-asr_eval-en.json"
STAND_INS = {"A.json": RESULT.format("fp32"), "B.json": RESULT.format("fp16")}


@dataclass(frozen=True)
class Program:
    """One program of a command line."""

    words: tuple[str, ...]

    @property
    def module(self) -> str | None:
        """What Python runs; None for another program."""
        return self.words[2] if self.words[0] in PYTHON and self.words[1:2] == ("-m",) else None

    @property
    def arguments(self) -> list[str]:
        """Of the module."""
        return list(self.words[3:])

    @property
    def missing_here(self) -> str | None:
        """What it needs that is not here."""
        said = {self.module, *self.words}
        return next((needs for words, needs in NOT_HERE.items() if said >= set(words.split())), None)


def programs(text: str) -> list[Program]:
    """The programs of a command line, between `|`, `&&` and `;`; comments are none. Fails for one that a shell would not read."""
    reader = shlex.shlex(text, posix=True, punctuation_chars="|&;")
    reader.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in reader:
        if set(word) <= set("|&;"):
            found.append([])
        else:
            found[-1].append(word)
    return [Program(tuple(words)) for words in found if words]


def indented() -> list[str]:
    """Lines without their comments, each once."""
    lines = re.findall(r"^    (.+)$", PROSE.replace("\\\n", " "), re.MULTILINE)
    return list(dict.fromkeys(filter(None, (" ".join(line.partition("#")[0].split()) for line in lines))))


def inline() -> list[str]:
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", PROSE)]
    return list(dict.fromkeys(span for span in spans if span.split()[0] in ("make", *PYTHON) and span not in PYTHON))


def parse(program: Program) -> None:
    """Fails where the module is not there, or its parser refuses."""
    assert program.module is not None
    if program.module in FOREIGN:
        assert find_spec(program.module)
        return
    spec = find_spec(program.module)
    assert spec, f"no module {program.module}"
    module = import_module(f"{program.module}.__main__" if spec.submodule_search_locations else program.module)
    code: object = 0
    try:
        module.parse_args(program.arguments)
    except SystemExit as ended:
        code = ended.code  # 0: --help
    assert code == 0, f"{program.module} refuses {program.arguments}"


@cache
def made(words: tuple[str, ...]) -> list[Program]:
    """The Python commands that make would run. Fails for a verb or a knob that the Makefile has not."""
    knobs = set(re.findall(r"^([A-Z_]+) \??= ?", Path("Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    given = {word.partition("=")[0] for word in words if "=" in word}
    assert given <= knobs, given - knobs
    command = ["make", "-n", "--no-print-directory", f"PYTHON={sys.executable}", *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace("\\\n", " ").splitlines()
    return [
        program
        for line in lines
        if ENVIRONMENTS.match(line)
        for program in programs(ENVIRONMENTS.sub(f"{PYTHON[0]} ", line))
    ]


def check(line: str) -> list[Program]:
    """A line's programs, make's resolved into Python's; each parsed."""
    found = []
    for program in programs(line):
        for word in program.words:
            path = word.partition("=")[2] or word
            tracked = Path(path).parts[0] in ("data", "bench", "requirements", "tests")
            assert not tracked or Path(path).exists(), f"no such file: {path}"
        if program.words[0] == "make":
            found += made(program.words)
        elif program.module is not None or program.words[0] == "arecord":
            found.append(program)
        else:
            pytest.fail(f"no command that this test knows: {line}")
    for program in found:
        if program.module is not None:
            parse(program)
    return found


@contextmanager
def no_variables() -> Iterator[None]:
    """Without a PATH no GPU is found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", {})
        yield


def run(program: Program, given: bytes = b"") -> "subprocess.CompletedProcess[str]":
    """Run it, given this as its input."""
    arguments = [STAND_INS.get(word, word) for word in program.arguments]
    if not given:
        with no_variables():
            return forks.command(str(program.module), *arguments)
    command = [sys.executable, "-m", str(program.module), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, check=False, env={})
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("line", indented())
def test_commands_are_read(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", inline())
def test_commands_within_the_text_are_read(line: str) -> None:
    check(line)


def runnable() -> list[str]:
    """Lines of this project's Python, and `make bench` of the embedded checkpoint."""
    lines = []
    for line in indented():
        last = programs(line)[-1]
        if last.words[:2] == ("make", "bench"):
            lines += [] if "MODEL=" in line else [line]
        elif last.module not in (None, *FOREIGN) and not last.missing_here:
            lines.append(line)
    return lines


@pytest.mark.parametrize("line", runnable())
def test_commands_run(bundle: Path, tmp_path: Path, line: str) -> None:
    assert bundle.is_dir()
    program = check(line)[-1]
    measures = line.startswith("make") or not MEASURING.isdisjoint(program.words)
    if measures:
        sample = ["--eval", "data/sample", "--limit", "1", "--backend", "onnxruntime-cpu", "--out", str(tmp_path)]
        program = Program((*program.words, *sample))
    speech = (load_audio(Path("data/sample/clips/01.mp3")) * 32767).astype("<i2").tobytes() if "|" in line else b""
    done = run(program, speech)
    if "--slo" in program.words and done.returncode == 1:  # a CPU may be that slow
        assert all(each.startswith("missed ") for each in done.stderr.splitlines())
    else:
        assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 3
    assert not measures or list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
    "line",
    [
        "make bnech",
        "make bench LIMITS=3",
        "make bench METHOD='",
        "build/python -m runtime --bundel B FILE.wav",
        "build/python -m bench compare A.json",
        "build/python -m bench.nothing",
        "build/python -m runtime --bundle B data/sample/clips/none.mp3",
        "python -m bench run --bundle B --pace slow | tee log",
        "triton --serve",
    ],
)
def test_a_command_that_does_not_work_fails(line: str) -> None:
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
        check(line)


def test_what_is_shown_is_what_comes(bundle: Path) -> None:
    assert bundle.is_dir()
    shown = re.findall(r"^ +\d+\.\d+ s  .+$", Path("README.md").read_text(encoding="utf-8"), re.MULTILINE)
    (line,) = (line for line in indented() if line.endswith("clips/16.mp3"))
    done = run(programs(line)[0])
    assert len(shown) > 3
    assert [each for each in done.stdout.splitlines() if each in shown] == shown


def test_the_json_that_is_shown_comes(bundle: Path) -> None:
    assert bundle.is_dir()
    guide = Path("docs/streaming.md").read_text(encoding="utf-8")
    (shown,) = map(json.loads, re.findall(r"```json\n(.*)\n```", guide))
    (line,) = (line for line in indented() if "--json" in line)
    come = json.loads(run(programs(line)[0]).stdout.splitlines()[-1])
    for word, other in zip(shown["words"], come["words"], strict=True):
        assert other.pop("confidence") == pytest.approx(
            word.pop("confidence"), abs=0.02
        )  # another CPU rounds otherwise
    assert come == shown


@pytest.mark.parametrize("block", BLOCKS, ids=["stream", "events", "asyncio", "hotwords", "conversation"])
def test_python_block_runs(bundle: Path, block: str) -> None:
    assert bundle.is_dir()
    with no_variables():
        done = forks.code("runtime", block)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 3
    assert len(lines[-1]) >= len(lines[0]) > 0


def anchors(document: Path) -> set[str]:
    """Of a document's headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_verbs_exist(document: str) -> None:
    text = Path(document).read_text()
    for target, anchor in re.findall(r"\]\((?!https:)([^)#]*)#?([^)]*)\)", text):
        linked = Path(document).parent / target if target else Path(document)
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"
    verbs = set(re.findall(r"^([a-z0-9-]+):", Path("Makefile").read_text(), re.MULTILINE))
    for verb in re.findall(r"`make ([a-z0-9-]+)|^    make ([a-z0-9-]+)", text, re.MULTILINE):
        assert "".join(verb) in verbs, verb
