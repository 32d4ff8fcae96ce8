"""What another project gets from `pip install`: one package and one command, in an environment that has nothing else of this one's.

The wheel is built and installed with what uv fetches, as pip would with a third of the work, so this needs the package index that
set-up needs.
"""

import json
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

from runtime import Recognizer, load_audio
from setup.install import settings_of_pip

pytestmark = pytest.mark.environments

CLIP = Path("data/sample/clips/01.mp3").absolute()
PUBLIC = {
    *("Recognizer", "Stream", "Conversation", "EndpointRules", "BargeInRules"),
    *("Partial", "Final", "Word", "BargeIn", "Event"),
    *("load_audio", "read_audio", "Recording", "InputError", "CudaError", "ClosedError", "FullError", "LostError"),
}
PROGRAM = """
import json, sys
import streaming_conformer
from streaming_conformer import *
bundle, clip = sys.argv[1:]
with Recognizer(bundle, backend="onnxruntime-cpu", lm="none") as recognizer:
    samples, greedy = load_audio(clip), recognizer.stream(EndpointRules())
    Conversation(recognizer.stream()).agent_speaks(samples)
    ended = [each.text for each in greedy.push(samples) if isinstance(each, Final)]
    greedy = " ".join([*ended, greedy.end_utterance().text])
try:
    load_audio("missing.wav")
except InputError as error:
    refused = str(error)
foreign = sorted({"torch", "nemo", "runtime", "silero_vad"} & sys.modules.keys())
found = {"all": streaming_conformer.__all__, "greedy": greedy, "refused": refused, "foreign": foreign}
print(json.dumps(found | {"names": sorted(set(streaming_conformer.__all__) - globals().keys())}))
"""


def run(*command: str | Path, cwd: Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(command, cwd=cwd, env={}, capture_output=True, text=True, check=False)  # no PATH: no GPU
    assert done.returncode == code, done.stderr
    return done


@cache
def settings() -> list[str]:
    return settings_of_pip(sys.executable)


def uv(*arguments: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "uv", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def checkout() -> set[str]:
    """Names outside of build/, and those in it."""
    return {each.name for each in Path().iterdir()} | {f"build/{each.name}" for each in Path("build").iterdir()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, bundle: Path, batched_bundle: Path) -> Path:
    assert bundle.is_dir()  # so that no other process of this run makes it, or the other, meanwhile
    assert batched_bundle.is_dir()
    folder, before = tmp_path_factory.mktemp("wheel"), checkout()
    build = ["--build-constraint" if each == "--constraint" else each for each in settings()]
    uv("build", "--wheel", "--out-dir", folder, *build, ".")
    assert checkout() == before, "a build leaves nothing in the checkout"
    (built,) = folder.glob("*.whl")  # beside it, uv puts a .gitignore
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of an environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    uv("pip", "install", "--python", folder / "bin" / "python", *settings(), wheel)
    return folder / "bin"


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    """The bundle where nothing of this project is."""
    return Path(shutil.copytree(bundle, tmp_path / "any where" / "model", ignore=shutil.ignore_patterns("plans")))


def recognised(bundle: Path, lm: str) -> str:
    with Recognizer(bundle, backend="onnxruntime-cpu", lm=lm) as recognizer:
        stream = recognizer.stream()
        stream.push(load_audio(CLIP))
        return stream.end_utterance().text


def test_it_holds_the_runtime_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = subprocess.run(["git", "ls-files", "runtime"], capture_output=True, text=True, check=True).stdout
    assert names == {f"streaming_conformer/{name.removeprefix('runtime/')}" for name in sources.split()}
    assert "streaming_conformer/py.typed" in names


def test_the_command(programs: Path, bundle: Path, copied: Path, tmp_path: Path) -> None:
    command = programs / "streaming-conformer"
    done = run(command, "--bundle", copied, CLIP, cwd=tmp_path)
    assert done.stdout.splitlines()[-1].endswith(f" s  final: {recognised(bundle, 'default')}")
    assert run(command, "--help", cwd=tmp_path).stdout.startswith("usage: streaming-conformer [-h]")
    for arguments, says in (
        (["--mic"], "streaming-conformer[mic]"),
        (["--backend", "onnxruntime-cuda", str(CLIP)], "streaming-conformer[gpu]"),
        (["--backend", "tensorrt", str(CLIP)], "expected a plan at"),
    ):
        refused = run(command, "--bundle", copied, *arguments, cwd=tmp_path, code=2).stderr
        assert says in refused
        assert "make setup" not in refused
        assert refused.count("\n") == 1


def test_from_python(programs: Path, bundle: Path, copied: Path, tmp_path: Path) -> None:
    done = run(programs / "python", "-c", PROGRAM, copied, CLIP, cwd=tmp_path)
    found = json.loads(done.stdout)
    assert set(found["all"]) == PUBLIC
    assert found["names"] == [], "all of them can be imported"
    assert found["greedy"].strip() == recognised(bundle, "none")
    assert found["refused"] == "missing.wav: no such audio file"
    assert found["foreign"] == []
