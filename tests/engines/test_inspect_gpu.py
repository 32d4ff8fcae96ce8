"""The inspector on a real GPU, on every bundle in build/bundles that has a plan, each in a process of its own.

A GPU host without NeMo runs it with `python -m pytest --noconftest -s tests/engines/test_inspect_gpu.py`.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from runtime.backends import default_backend
from runtime.stamp import plan_path

BUNDLES = sorted(Path("build/bundles").glob("*/"))
HELD = """
import sys
from pathlib import Path
from bench.process import gpu_memory_mb
from runtime.backends.tensorrt import TensorRtBackend
from runtime.bundle import read_bundle
folder = Path(sys.argv[1])
backend = TensorRtBackend(folder, read_bundle(folder), sys.argv[2])
print(gpu_memory_mb())
"""


pytestmark = [
    pytest.mark.skipif(default_backend() != "tensorrt", reason="no NVIDIA GPU answers nvidia-smi on this machine"),
    pytest.mark.skipif(
        find_spec("tensorrt") is None, reason="`make test` runs it in the GPU's environment, which has TensorRT"
    ),
    pytest.mark.skipif(not BUNDLES, reason="no bundle in build/bundles: run `make export`"),
]


def _others() -> float:
    """MB that other processes hold on the first GPU: pytest's own CUDA context among them, where tests of the runtime ran before."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * (1 << 20) / 1e6


def _python(*arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_inspection(folder: Path, precision: str, tmp_path: Path) -> None:
    plan = plan_path(folder, precision)
    if not plan.is_file():
        pytest.skip(f"no {precision} plan of {folder.name} there: run `make engines PRECISION={precision}`")
    out = tmp_path / "report.json"
    arguments = ["--bundle", str(folder), "--precision", precision, "--json", str(out)]
    others = _others()
    print("\n" + _python("-m", "engines.inspect", *arguments))
    report: dict[str, Any] = json.loads(out.read_text())["plan"]
    assert report["polygraphy"].startswith("==== TensorRT Engine ====")
    kinds = {each["precision"] for each in report["layers"]}
    print(
        "precisions", kinds, "layers that name ONNX nodes", sum(bool(each["onnx_names"]) for each in report["layers"])
    )
    assert kinds - {"none"}
    assert not any("unknown" in each for each in kinds)
    memory = report["memory_mb"]
    assert memory["weights"] > plan.stat().st_size / 2e6
    held = _python("-c", HELD, str(folder), precision).split()[-1]
    total = sum(memory.values()) - others
    print(f"owners in all {total:.0f} MB, held by a process with one open stream {held} MB, by others {others:.0f} MB")
    if held != "None":
        assert total == pytest.approx(float(held), rel=0.05)
    profile = report["profile"]
    assert isinstance(profile, dict), profile
    times = [each["microseconds"] for each in profile["kernels"]]
    untimed = [each["name"] for each in profile["kernels"] if each["microseconds"] is None]
    print(f"step {profile['microseconds']:.0f} us, sum of its {len(times)} kernels {sum(filter(None, times)):.0f} us")
    assert untimed == []
    # In FP16 on TensorRT 8.6 matrix products are sums within fused kernels: only the front end's are left.
    found = {each["kind"] for each in profile["kernels"]}
    assert "memory" in found
    assert any(kind.endswith("product") for kind in found)
    unknown = {each["name"] for each in profile["kernels"] if each["kind"] == "other"}
    print("kernels of no known kind", unknown or "none")
    assert profile["kernels"][0]["name"] == profile["kernels"][-1]["name"] == "memcpy"
