import io
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from engines import inspect
from engines.inspect import COSTLIEST, NO_GPU, OnnxReport, PlanReport, parse_args, polygraphy_summary, run, show
from engines.kernels import Kernel, StepProfile
from engines.layers import Layer
from engines.memory import MemoryByOwner
from engines.nodes import Node
from engines.tables import OWNERS, kernels_table, memory_table, precision_table
from runtime.bundle import read_bundle
from runtime.errors import InputError
from runtime.files import sha256
from runtime.stamp import plan_path
from tests.runtime.fake_gpu import KERNEL_US
from tests.runtime.rig import Rig, write_stamp

MEMORY = MemoryByOwner(
    cuda=512.5, weights=240, contexts=12, graphs=2, activations=3.25, states=9.9, inputs_outputs=0.02
)
NODES = [Node("a", "Gemm", "fp16", 3_000_000), Node("b", "Gemm", "fp32", 0), Node("c", "Cast", "fp16", 0)]
LAYERS = [Layer("a", "gemm", "int8", 1_500_000, ("a",), "sm80_i8"), Layer("{b}", "Myelin", "fp16+fp32", 0)]
GEMM = "sm80_xmma_gemm_f16f16_f16f16_f16_tn_n_tilesize32x32x64_stage6_warpsize2x2x1_tensor16x8x16_execute_kernel_trt"
KERNELS = [
    Kernel("memcpy", "memory", (), (), None),
    Kernel("copyPackedKernel", "reformat", (1, 1, 1), (128, 1, 1), 1.25),
    Kernel(GEMM, "fp16 product", (1, 16, 1), (128, 1, 1), 2),
    Kernel("__myl_bb0_2_Qua", "quantize", (1, 1, 1), (256, 1, 1), 0.75),
    Kernel("__myl_bb0_2_Qua", "quantize", (2, 1, 1), (256, 1, 1), None),
    Kernel(GEMM, "fp16 product", (1, 32, 1), (128, 1, 1), 4),
]


def _rows(table: Table) -> list[list[str]]:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(table)
    lines = console.export_text().splitlines()
    return [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines]


def test_precision_table() -> None:
    rows = _rows(precision_table("a title", "nodes", NODES))
    assert ["a title"] in rows
    assert ["type", "fp16", "fp32", "nodes", "weights MB"] in rows
    assert ["Gemm", "1", "1", "2", "3.0"] in rows
    assert ["Cast", "1", "", "1", "0.0"] in rows
    assert ["all", "2", "1", "3", "3.0"] in rows


def test_memory_table() -> None:
    rows = _rows(memory_table(MEMORY))
    assert OWNERS.keys() == asdict(MEMORY).keys()
    for owner, size in asdict(MEMORY).items():
        assert [OWNERS[owner], f"{size:.2f}"] in rows
    assert ["all", "779.67"] in rows


def test_kernels_by_kind() -> None:
    assert [row for row in _rows(kernels_table("by kind", "kind", KERNELS)) if len(row) == 4 and row[1]] == [
        ["kind", "kernels", "us", "share"],
        ["fp16 product", "2", "6.0", "75.0%"],
        ["reformat", "1", "1.2", "15.6%"],
        ["quantize", "2 (1 not timed)", "0.8", "9.4%"],
        ["memory", "1 (not timed)", "", ""],
        ["all", "6 (2 not timed)", "8.0", "100.0%"],
    ]


def test_the_costliest_kernels_by_name() -> None:
    others = [Kernel(f"n{index:02}", "other", (1, 1, 1), (1, 1, 1), 0.01 * index) for index in range(20)]
    table = kernels_table("by name", "name", [*others, *KERNELS], COSTLIEST)
    rows = [row for row in _rows(table) if len(row) == 4 and row[1]]
    names = [row[0] for row in rows[1:-1]]
    assert len(names) == COSTLIEST
    assert GEMM.startswith(names[0])
    assert names[1:] == ["copyPackedKernel", "__myl_bb0_2_Qua", *(f"n{index}" for index in range(19, 12, -1))]
    assert rows[1][1:] == ["2", "6.0", "60.6%"]
    assert rows[-1] == ["all", "26 (2 not timed)", "9.9", "100.0%"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_polygraphy_on_the_bundle_s_step(bundle: Path, precision: str) -> None:
    said = polygraphy_summary(bundle / f"step.{precision}.onnx", "onnx")
    step = read_bundle(bundle).step(precision)
    graph = onnx.load(bundle / f"step.{precision}.onnx").graph
    assert said.startswith("==== ONNX Model ====")
    assert f"---- {len(step.inputs)} Graph Input(s) ----" in said
    for spec in (*step.inputs, *step.outputs):
        shape = str(tuple(spec.shape))
        assert f"{spec.name} [dtype={spec.dtype}, shape={shape}]" in said
    assert said.endswith(f"---- {len(graph.node)} Node(s) ----")


@pytest.mark.parametrize("kind", ["onnx", "engine"])
def test_polygraphy_s_failure_is_one_line(tmp_path: Path, kind: Literal["onnx", "engine"]) -> None:
    path = tmp_path / "a.file"
    path.write_bytes(b"neither ONNX nor a plan")
    said = polygraphy_summary(path, kind)
    print(said)
    assert said.startswith("polygraphy inspect model a.file failed: ")
    assert len(said) > 50
    assert "\n" not in said


def test_polygraphy_reads_layers_with_control_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Polygraphy's package parses what TensorRT 8.6 says of a layer as Polygraphy 0.53 does."""
    tools = tmp_path / "polygraphy" / "tools"
    tools.mkdir(parents=True)
    (tools.parent / "__init__.py").touch()
    (tools / "__init__.py").write_text(
        'import json\ndef main():\n    print("====", ascii(json.loads(\'{"Metadata": "a\\x1eb"}\')))\n'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert polygraphy_summary(Path("plans/a.plan"), "engine") == "==== {'Metadata': 'a\\x1eb'}"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import json; json.loads('\"\\x1f\"')", "Invalid control character at: line 1 column 2 (char 1)"),
        ("import os; os._exit(3)", "failed: exit code 3"),
        ("print('[I] a\\n[E] b\\n[!] c\\n  d'); raise SystemExit(1)", "failed: b"),
        ("import time; time.sleep(60)", "failed: nothing after 1 s"),
        ("import polygraphy_is_not_here", "No module named 'polygraphy_is_not_here'"),
        ("print('[I] Loading\\n[I] ==== ONNX Model ====\\n    Name: \\x1f')", "==== ONNX Model ====\n    Name:"),
    ],
)
def test_whatever_polygraphy_does(monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    monkeypatch.setattr(inspect, "POLYGRAPHY", ("-c", code))
    monkeypatch.setattr(inspect, "TIMEOUT_S", 1 if "sleep" in code else 60)
    found = polygraphy_summary(Path("plans/a.plan"), "engine")
    assert said in found
    assert found.startswith(("polygraphy inspect model a.plan failed: ", "===="))


def test_what_is_shown() -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    onnx_report = OnnxReport("step.fp16.onnx", "polygraphy said [b]this[/b]", NODES)
    plan = PlanReport("a.plan", 231.5, "8.6.0", "A GPU", "polygraphy failed", LAYERS, MEMORY, StepProfile(7.5, KERNELS))
    show(console, onnx_report, plan)
    text = console.export_text()
    for part in ("said [b]this[/b]", "polygraphy failed", "a.plan: 231.5 MB, TensorRT 8.6.0, A GPU", "Gemm", "Myelin"):
        assert part in text
    for part in ("by kind", "fp16 product", "by name", "copyPackedKernel", "step: 7.5 us", "reformat: 2.0 us"):
        assert part in text
    show(console, onnx_report, replace(plan, profile="no [b]kernels[/b]"))
    text = console.export_text()
    assert "\nno [b]kernels[/b]\n" in text
    assert "by kind" not in text
    show(console, onnx_report, None)
    assert NO_GPU in console.export_text()


def test_without_a_gpu(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inspect, "default_backend", lambda: "onnxruntime-cpu")
    out = tmp_path / "made" / "report.json"
    run(parse_args(["--bundle", str(bundle), "--precision", "fp16", "--json", str(out)]))
    text = capsys.readouterr().out
    assert "==== ONNX Model ====" in text
    assert text.startswith("step.fp16.onnx\n")
    assert "Nodes by operator and type" in text
    assert NO_GPU in text
    report = json.loads(out.read_text())
    assert (report["schema"], report["bundle"], report["precision"]) == (1, bundle.name, "fp16")
    assert report["plan"] is None
    assert len(report["onnx"]["nodes"]) == len(onnx.load(bundle / "step.fp16.onnx").graph.node)
    assert str(tmp_path) not in out.read_text()


def _with_step(folder: Path) -> None:
    """Give the toy bundle an ONNX file."""
    weights = numpy_helper.from_array(np.zeros((3, 4), np.float32), "w")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "toy", values[:1], values[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "step.fp32.onnx")
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["steps"]["fp32"]["sha256"] = sha256(folder / "step.fp32.onnx")
    (folder / "bundle.json").write_text(json.dumps(manifest))
    write_stamp(folder)


def test_on_a_gpu(rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(inspect, "default_backend", lambda: "tensorrt")
    _with_step(rig.folder)
    gpu = rig.install(costs={"cuda": 500_000_000, "engine": 100_000_000})
    out = rig.folder.parent / "report.json"
    run(parse_args(["--bundle", str(rig.folder), "--precision", "fp32", "--json", str(out)]))
    text = capsys.readouterr().out
    assert "step.fp32.plan: 0.0 MB, TensorRT 10.16.1.11, Fake GPU" in text
    assert "Layers by type and precision" in text
    assert "polygraphy inspect model step.fp32.plan failed: " in text, (
        "its process has no fake GPU, or refuses the plan"
    )
    assert "Device memory by owner" in text
    plan = json.loads(out.read_text())["plan"]
    assert (plan["file"], plan["tensorrt"], plan["gpu"]) == ("step.fp32.plan", "10.16.1.11", "Fake GPU")
    (layer,) = plan["layers"]
    assert layer["onnx_names"] == ["layer0/in", "layer0/out"]
    assert (layer["precision"], layer["tactic"]) == ("int8", "sm80_xmma_gemm_i8f16")
    assert (plan["memory_mb"]["cuda"], plan["memory_mb"]["weights"]) == (500, 100)
    assert "Kernels of the captured step by kind" in text
    assert f"the whole captured step: {plan['profile']['microseconds']:.1f} us" in text
    copy_in, kernel, _ = plan["profile"]["kernels"]
    assert (copy_in["name"], kernel["name"]) == ("memcpy", "void cuInt8::nchwTonchw<float, __half, 8>")
    assert (kernel["kind"], kernel["grid"], kernel["block"]) == ("reformat", [6, 2, 1], [128, 4, 1])
    assert kernel["microseconds"] == pytest.approx(KERNEL_US)
    assert gpu.live == {}


def test_on_a_gpu_whose_kernels_stay_unknown(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inspect, "default_backend", lambda: "tensorrt")
    _with_step(rig.folder)
    rig.install(capturable=False)
    out = rig.folder.parent / "report.json"
    run(parse_args(["--bundle", str(rig.folder), "--precision", "fp32", "--json", str(out)]))
    said = json.loads(out.read_text())["plan"]["profile"]
    text = capsys.readouterr().out
    assert said.startswith("kernels of the captured step: none, because execute_async_v3: ")
    assert "\n" not in said
    assert f"\n{said}\n" in text
    assert "Device memory by owner" in text
    assert "by kind" not in text


def test_on_a_gpu_without_a_plan(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "default_backend", lambda: "tensorrt")
    _with_step(rig.folder)
    plan_path(rig.folder, "fp32").unlink()
    out = rig.folder.parent / "report.json"
    with pytest.raises(InputError, match="make it with `make engines PRECISION=fp32`"):
        run(parse_args(["--bundle", str(rig.folder), "--precision", "fp32", "--json", str(out)]))
    assert not out.exists()


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engines.inspect", "--bundle", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"expected a bundle at {tmp_path / 'bundle.json'}" in done.stderr
