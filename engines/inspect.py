"""`python -m engines.inspect PLAN`: layers by type and by the precision they really run in, and bytes by what they hold."""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engines.progress import make_logger
from runtime.backends.engine import activation_bytes
from runtime.errors import InputError, exit_code
from runtime.stamp import read_stamp

_PRECISIONS = (  # 8.6 writes "Row major linear FP16 format", later versions "Half"
    ("fp32", r"FP32|Float\b"),
    ("fp16", r"FP16|Half"),
    ("int8", r"Int8"),
    ("int32", r"Int32"),
    ("int64", r"Int64"),
    ("bool", r"Bool"),
)
_BYTES = {"fp32": 4, "fp16": 2, "int8": 1, "int32": 4, "int64": 8, "bool": 1}


@dataclass(frozen=True)
class Layer:
    """One layer of an engine, after fusion."""

    name: str
    kind: str
    precision: str
    """Of its weights where it has some, else of its outputs; `fp16+fp32` where they differ."""
    weight_bytes: int
    """Of the weights that the layer names; what is fused into a Myelin block names none."""


def read_layers(text: str) -> list[Layer]:
    """Layers from the engine inspector's JSON (`get_engine_information`), of 8.6 to 11.

    Raises InputError for text that is not it, or that names layers only.
    """
    try:
        # 8.6 leaves raw control characters in strings.
        layers = json.loads(text, strict=False)["Layers"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"expected the engine inspector's JSON, found {text[:40]!r}; make the plan again") from error
    if any(not isinstance(each, dict) for each in layers):
        raise InputError("expected a plan with detailed layers, found their names only; build it with `make engines`")
    return [_layer(each) for each in layers]


def _layer(entry: Mapping[str, Any]) -> Layer:
    weights = [entry[key] for key in ("Weights", "Bias") if isinstance(entry.get(key), dict) and entry[key]["Count"]]
    described = [each["Type"] for each in weights[:1]] or [
        each.get("Format/Datatype", each.get("Datatype", "")) for each in entry.get("Outputs", [])
    ]
    return Layer(
        name=entry["Name"],
        kind=entry["LayerType"],
        precision="+".join(sorted({_precision(each) for each in described})) or "none",
        weight_bytes=sum(each["Count"] * _BYTES.get(_precision(each["Type"]), 0) for each in weights),
    )


def _precision(described: str) -> str:
    return next((name for name, pattern in _PRECISIONS if re.search(pattern, described)), described or "unknown")


def layer_table(layers: Sequence[Layer]) -> Table:
    """Counts of layers, a row per type, a column per precision."""
    precisions = sorted({each.precision for each in layers})
    table = Table("type", *precisions, "layers", "weights MB", title="Layers by type and precision")
    for kind, _ in Counter(each.kind for each in layers).most_common():
        table.add_row(kind, *_cells([each for each in layers if each.kind == kind], precisions))
    table.add_section()
    table.add_row("all", *_cells(layers, precisions))
    return table


def _cells(layers: Sequence[Layer], precisions: Sequence[str]) -> list[str]:
    counts = Counter(each.precision for each in layers)
    weights = sum(each.weight_bytes for each in layers)
    return [*(str(counts[each] or "") for each in precisions), str(len(layers)), _mb(weights)]


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the inspector."""
    parser = argparse.ArgumentParser(prog="python -m engines.inspect", description="Show what runs in a plan.")
    parser.add_argument("plan", type=Path, help="file made by `make engines`, on the GPU it was built for")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Load the plan and print its tables."""
    from engines.target import this_gpu

    stamp = read_stamp(args.plan)
    trt = this_gpu().trt
    logger = make_logger(trt)
    engine = trt.Runtime(logger).deserialize_cuda_engine(args.plan.read_bytes())
    if engine is None:
        found = logger.errors[0] if logger.errors else logger.warning
        raise InputError(
            f"expected {args.plan}, built by TensorRT {stamp.tensorrt} for {stamp.gpu}, to load, found: {found}; "
            f"make it again with `make engines PRECISION={stamp.precision}`"
        )
    layers = read_layers(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))
    console = Console()
    console.print(layer_table(layers))
    console.print(
        f"plan {_mb(args.plan.stat().st_size)} MB; weights named by layers {_mb(sum(each.weight_bytes for each in layers))} MB"
    )
    console.print(f"activations {_mb(activation_bytes(engine))} MB of device memory per execution context")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
