"""`python -m engines.inspect`: what a step's ONNX asks for, what its plan really runs, kernel by kernel, and device memory by owner."""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from rich.console import Console

from engines.kernels import StepProfile, profile_step
from engines.layers import Layer, plan_layers
from engines.memory import MemoryByOwner, memory_by_owner
from engines.nodes import Node, read_nodes
from engines.tables import kernels_table, memory_table, precision_table
from runtime.arguments import Arguments
from runtime.backends import default_backend
from runtime.backends.engine import import_tensorrt
from runtime.bundle import Precision, read_bundle, step_file
from runtime.errors import CudaError, exit_code
from runtime.files import check_room, written_whole
from runtime.stamp import plan_path, read_stamp

NO_GPU = "no NVIDIA GPU answers nvidia-smi on this machine: the ONNX only, neither the plan nor memory"
# It has no `python -m polygraphy`. Its JSON parser stops at the control characters that TensorRT 8.6 writes into a plan's layers.
LENIENT = "import functools, json; json.loads = functools.partial(json.loads, strict=False)"
POLYGRAPHY = ("-c", f"{LENIENT}; from polygraphy.tools import main; raise SystemExit(main())")
TIMEOUT_S = 300
COSTLIEST = 10  # kernels shown by name


@dataclass(frozen=True)
class OnnxReport:
    """A step's ONNX file."""

    file: str
    polygraphy: str
    """What `polygraphy inspect model` says of it, or one line why it failed."""
    nodes: list[Node]


@dataclass(frozen=True)
class PlanReport:
    """Its plan."""

    file: str
    plan_mb: float
    """10**6 bytes."""
    tensorrt: str
    """Version."""
    gpu: str
    polygraphy: str
    layers: list[Layer]
    memory_mb: MemoryByOwner
    profile: StepProfile | str
    """Its captured step, or one line why there is none."""


def inspect_onnx(folder: Path, precision: str) -> OnnxReport:
    """The step of the bundle in `folder`; raises InputError for a bundle that is not whole or lacks that precision."""
    step, _ = step_file(folder, read_bundle(folder), precision)
    return OnnxReport(step.name, polygraphy_summary(step, "onnx"), read_nodes(step))


def inspect_plan(folder: Path, precision: str) -> PlanReport:
    """The plan of the bundle in `folder`; raises InputError for one that the runtime refuses, CudaError where the GPU has no room."""
    plan = plan_path(folder, precision)
    stamp = read_stamp(plan)
    memory = memory_by_owner(folder, precision)  # first: it takes what is on the GPU before it for CUDA's
    layers = plan_layers(import_tensorrt(), plan)
    profile: StepProfile | str
    try:  # last: a kernel that fails on its own breaks the process's CUDA context
        profile = profile_step(folder, precision)
    except CudaError as error:
        profile = f"kernels of the captured step: none, because {error}"
    return PlanReport(
        file=plan.name,
        plan_mb=plan.stat().st_size / 1e6,
        tensorrt=stamp.tensorrt,
        gpu=stamp.gpu,
        polygraphy=polygraphy_summary(plan, "engine"),
        layers=layers,
        memory_mb=memory,
        profile=profile,
    )


def polygraphy_summary(path: Path, kind: Literal["onnx", "engine"]) -> str:
    """What `polygraphy inspect model` prints; one line with the reason where it fails.

    In a process of its own: what it holds on the GPU goes with it.
    """
    options = ["--model-type", kind, "--log-format", "no-colors"]
    command = [sys.executable, *POLYGRAPHY, "inspect", "model", str(path), *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"polygraphy inspect model {path.name} failed: nothing after {TIMEOUT_S} s"
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        own = [line[3:].strip() for line in said if line.startswith(("[E]", "[!]"))]  # else a traceback's last line
        reason = (own[:1] or said[-1:] or [f"exit code {done.returncode}"])[0]
        return f"polygraphy inspect model {path.name} failed: {reason}"
    return done.stdout[max(done.stdout.find("===="), 0) :].rstrip()


def show(console: Console, onnx: OnnxReport, plan: PlanReport | None) -> None:
    """Print everything but the single nodes, layers and kernels."""
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    say(f"{onnx.file}\n{onnx.polygraphy}")
    console.print(precision_table("Nodes by operator and type", "nodes", onnx.nodes))
    if plan is None:
        say(NO_GPU)
        return
    say(f"{plan.file}: {plan.plan_mb:.1f} MB, TensorRT {plan.tensorrt}, {plan.gpu}\n{plan.polygraphy}")
    console.print(precision_table("Layers by type and precision", "layers", plan.layers))
    console.print(memory_table(plan.memory_mb))
    if isinstance(plan.profile, str):
        say(plan.profile)
        return
    kernels = plan.profile.kernels
    console.print(kernels_table("Kernels of the captured step by kind", "kind", kernels))
    console.print(kernels_table("The costliest kernels by name", "name", kernels, COSTLIEST))
    say(
        f"the whole captured step: {plan.profile.microseconds:.1f} us; the kernels' sum is of each alone, warm and back to back\n"
        f"kernels that only quantise, dequantise or reformat: {plan.profile.regret_microseconds:.1f} us"
    )


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the inspector."""
    parser = Arguments(prog="python -m engines.inspect", description="Show what a step runs and holds.")
    parser.add_argument("--bundle", type=Path, required=True, help="folder made by `make export`")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp16", help="default: fp16")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write everything there too, each node, layer and kernel"
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Inspect the step, and its plan where a GPU is; print, and write the JSON."""
    if args.json:
        check_room(args.json)
    onnx = inspect_onnx(args.bundle, args.precision)
    plan = inspect_plan(args.bundle, args.precision) if default_backend() == "tensorrt" else None
    show(Console(), onnx, plan)
    if args.json:
        report = {"schema": 1, "bundle": args.bundle.absolute().name, "precision": args.precision}
        report |= {"onnx": asdict(onnx), "plan": plan and asdict(plan)}
        with written_whole(args.json) as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
