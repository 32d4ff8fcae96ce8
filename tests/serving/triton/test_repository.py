"""The recogniser's repository as files; what its model refuses when a server starts it; what its clients need to be installed."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.stamp import plan_path
from serving.triton.repository import Served, model_name, write_repository
from tests.serving.triton.servers import PART, READY_S, Triton, packages

CPU = Served(max_streams=3, backend="onnxruntime-cpu")


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (
            Served(backend="tensorrt"),
            "expected a plan at .*batched.fp16.plan, found none; make it with `make engines PRECISION=fp16 BA",
        ),
        (Served(backend="onnxruntime-cpu", precision="int8"), "expected a precision of the bundle"),
    ],
)
def test_what_cannot_be_served(batched_bundle: Path, tmp_path: Path, served: Served, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_repository(batched_bundle, served, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_bundle_without_the_step_over_many(manifest_of_one: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected the step over many streams in fp32, found none; make .* `make export BATCH=1`"
    ):
        write_repository(manifest_of_one, CPU, tmp_path / "out")


@pytest.mark.parametrize(("streams", "idle_s"), [(0, 15), (1 << 20, 15), (1, 0), (1, 1e6), (1, float("nan"))])
def test_numbers_that_cannot_be(streams: int, idle_s: float) -> None:
    with pytest.raises(InputError, match=r"^expected (max_streams|an idle time) .*, found "):
        Served(streams, idle_s)


def test_made_again_over_itself_and_over_nothing_else(batched_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        write_repository(batched_bundle, CPU, out)
    version = out / model_name(batched_bundle) / "1"
    assert {each.name for each in version.iterdir()} == {"model.py", "runtime", "serving", "bundle"}
    assert {each.name for each in (version / "bundle").iterdir()} == {each.name for each in batched_bundle.iterdir()}
    (out / "mine").touch()
    with pytest.raises(InputError, match="something else"):
        write_repository(batched_bundle, CPU, out)
    assert (out / "mine").exists()


def test_a_plan_of_another_step_is_refused(batched_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    shutil.copy(batched_bundle / "bundle.json", folder)
    plan = plan_path(folder, "fp16", "batched")
    plan.parent.mkdir()
    plan.write_bytes(b"plan")
    with pytest.raises(InputError, match="a plan's stamp"):
        write_repository(folder, Served(backend="tensorrt"), tmp_path / "out")


def refused(repository: Path, folder: Path, environment: Path | None = None) -> str:
    """What a server says of the model that it cannot load."""
    server = Triton(repository, folder, environment=environment).start()
    try:
        assert server.process.wait(READY_S) != 0
    finally:
        server.stop()
    said = re.search(r"TritonModelException: (.*?)(\\n|\n|\"|\|)", server.log)
    assert said, server.log[-3000:]
    return said[1].strip()


def test_numpy_2_is_refused_where_it_corrupts(batched_bundle: Path, tmp_path: Path) -> None:
    packages()
    write_repository(batched_bundle, CPU, tmp_path / "out")
    said = refused(tmp_path / "out", tmp_path, Path(sys.prefix))
    assert re.fullmatch(
        r"expected tensors to reach numpy 2\S+ whole, found \[3.0, 4.0\] as \[3.0, 3.0\]; install .* 24.11 or later",
        said,
    )


def test_a_bundle_that_was_cut_off_is_refused(batched_bundle: Path, tmp_path: Path) -> None:
    packages()
    write_repository(batched_bundle, CPU, tmp_path / "out")
    graph = tmp_path / "out" / model_name(batched_bundle) / "1" / "bundle" / "batched.fp32.onnx"
    graph.unlink()
    graph.write_bytes(b"half")
    assert re.match(
        r"expected .*batched.fp32.onnx with sha256 .*, found .*; make it again", refused(tmp_path / "out", tmp_path)
    )


def test_the_list_for_clients_is_whole(tmp_path: Path) -> None:
    """Where the runtime's packages are and nothing else."""
    packages()
    asked = [
        line for line in Path("requirements/triton.txt").read_text().splitlines() if line and not line.startswith("#")
    ]
    program = [str(PART.python), "-c", "from serving.triton.connection import Server; Server('nowhere:1').close()"]
    without = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (
        "InputError: expected tritonclient and what it needs, found: No module named 'tritonclient'" in without.stderr
    )
    for name in (line.partition("==")[0] for line in asked):
        for file in distribution(name).files or ():
            if ".." not in file.parts:
                target = tmp_path / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)
    done = subprocess.run(program, capture_output=True, text=True, check=False, env={"PYTHONPATH": f"{tmp_path}:."})
    assert (done.returncode, done.stderr) == (0, "")
    shutil.rmtree(tmp_path / "grpc")
    done = subprocess.run(program, capture_output=True, text=True, check=False, env={"PYTHONPATH": f"{tmp_path}:."})
    assert "InputError: expected tritonclient and what it needs, found: " in done.stderr
