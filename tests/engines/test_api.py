"""Our code against the real Python bindings of each TensorRT it claims (../shared/trt_api), which have no library behind them."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from runtime.bundle import read_bundle
from runtime.files import alone

MAKE = Path("../shared/trt_api/make.sh")
BINDINGS = Path("build/trt_api")


@cache
def bindings(version: str) -> Path:
    """The folder of an importable `tensorrt`; made once and kept in build/."""
    folder = BINDINGS / version
    with alone(BINDINGS):  # of the other processes of this run
        if (folder / "tensorrt").is_dir():
            return folder
        if not MAKE.is_file():
            pytest.skip(f"{MAKE}, which makes the bindings of TensorRT {version} importable, is not here")
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # pip of this Python
        partial = BINDINGS / f".{version}.part"
        made = subprocess.run(
            [MAKE, version, partial], env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        if made.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            pytest.skip(f"{MAKE} {version} did not finish: {made.stderr.strip()[-200:]}")
        partial.rename(folder)
    return folder


def run_against(version: str, folder: Path, precision: str) -> dict[str, Any]:
    """What against_api.py saw."""
    environment = os.environ | {"PYTHONPATH": f"{bindings(version)}:."}
    done = subprocess.run(
        [sys.executable, "tests/engines/against_api.py", folder, precision],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("version", "lacks"),
    [("10.16.1.11", []), ("11.4.0.106", ["FP16", "EXPLICIT_BATCH", "device_memory_size"])],
)
def test_build_and_inspect_use_what_this_version_has(
    version: str, lacks: list[str], precision: str, batched_bundle: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(batched_bundle, tmp_path / "embedded-80ms", ignore=shutil.ignore_patterns("plans")))
    seen = run_against(version, folder, precision)
    assert seen["version"] == version
    assert seen["lacks"] == lacks
    assert seen["network_flags"] == seen["strongly_typed"], "and nothing else"
    bundle = read_bundle(folder)
    assert seen["parsed"] == [bundle.graph(precision, graph)[1].sha256 for graph in ("step", "batched")]
    assert seen["profiles"] == [["valid", [1], [1], [1]], ["valid", [2], [4], [4]]]
    assert seen["profiles_added"] == 2
    assert (set(seen["cleared"]), seen["set"]) == ({"TF32"}, []), "the ONNX alone decides the precision"
    assert (seen["max_aux_streams"], seen["level"], seen["verbosity"]) == (0, 2, "DETAILED")
    assert seen["tactics"] == seen["own_kernels"]
    assert len(seen["runs_many"]) == 4, "what runtime/backends/batches.py calls"
    assert (seen["layers"], seen["activation_bytes"]) == (["a layer"], 5_000_000)
    assert seen["monitored"]
    assert seen["monitor"] == [["outer", "  inner"], True, True, ["outer"]]
    assert seen["stamp"] == {"tensorrt": version, "gpu": "A GPU", "weights_typed": "strong", "precision": precision}
    assert seen["timing"] == [f"A-GPU-{version}.cache"]
