"""What a plan runs: its layers after fusion, read from TensorRT's engine inspector."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.nodes import Node
from engines.progress import make_logger
from runtime.errors import InputError

_PRECISIONS = (  # 8.6 writes "Row major linear FP16 format", later versions "Half"; the first that fits
    ("fp32", r"FP32|Float\b"),
    ("fp16", r"FP16|Half"),
    ("int8", r"Int8"),
    ("int32", r"Int32"),
    ("int64", r"Int64"),
    ("bool", r"Bool"),
)
_BYTES = {"fp32": 4, "fp16": 2, "int8": 1, "int32": 4, "int64": 8, "bool": 1}
_NARROWEST_FIRST = ("int8", "fp16", "fp32")
_PRODUCT = r"gemm|matrixmultiply|convolution|mha"  # in a layer's type, or in its kernel's name
_ONNX_NAME = r"\[ONNX Layer: ([^\]]*)\]"  # control characters lie between them


@dataclass(frozen=True)
class Layer(Node):
    """One layer of an engine, after fusion. Its bytes are of the weights that it names: what is fused into a Myelin block names none.

    TensorRT 8.6 shows a Myelin block, which may be a whole model, as one layer `{ForeignNode[first...last]}` with the types of its
    inputs and outputs: which kernels run in it, and in which precision, it does not say. From 10 on each kernel of such a block is a
    layer: `gemm` for products, `kgen` for the generated ones that fuse what lies between.

    Its precision is what it computes in: the type of its weights where it names some, else, for a product, the narrowest type that it
    reads (a bias or a residual may be wider), else that of its outputs; `fp16+fp32` where they differ, `none` without any.
    """

    onnx_names: tuple[str, ...] = ()
    """The ONNX nodes that it computes, from its metadata; empty for what TensorRT added (copies, reformats)."""
    tactic: str = ""
    """The kernel's name, as in sm80_xmma_gemm_i8i8_i8i32_f32, which tells the types too; empty where TensorRT gives none."""


def plan_layers(tensorrt: Any, plan: Path) -> list[Layer]:  # noqa: ANN401 -- a module without types
    """The layers of a plan of this GPU and this TensorRT; raises InputError where it does not load or names its layers only."""
    logger = make_logger(tensorrt)
    engine = tensorrt.Runtime(logger).deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        found = logger.errors[0] if logger.errors else logger.warning
        raise InputError(f"expected {plan} to load, found: {found}; make it again with `make engines`")
    inspector = engine.create_engine_inspector()
    return read_layers(inspector.get_engine_information(tensorrt.LayerInformationFormat.JSON))


def read_layers(text: str) -> list[Layer]:
    """Layers from the engine inspector's JSON (`get_engine_information`), of 8.6 to 11.

    Raises InputError for text that is not it, or that names layers only.
    """
    try:
        # 8.6 leaves raw control characters in strings.
        layers = json.loads(text, strict=False)["Layers"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"expected the engine inspector's JSON, found {text[:40]!r}; make the plan again") from error
    if any(not isinstance(entry, dict) for entry in layers):
        raise InputError("expected a plan with detailed layers, found their names only; build it with `make engines`")
    return [_layer(entry) for entry in layers]


def _layer(entry: Mapping[str, Any]) -> Layer:
    weights = [entry[key] for key in ("Weights", "Bias") if isinstance(entry.get(key), dict) and entry[key]["Count"]]
    tactic = entry.get("TacticName", "")
    read, written = _types(entry.get("Inputs", [])), _types(entry.get("Outputs", []))
    types = {_precision(weight["Type"]) for weight in weights[:1]} or written
    if not weights and re.search(_PRODUCT, f"{entry['LayerType']} {tactic}", re.IGNORECASE):
        types = {next((precision for precision in _NARROWEST_FIRST if precision in read), *types)}
    return Layer(
        name=entry["Name"],
        kind=entry["LayerType"],
        precision="+".join(sorted(types)) or "none",
        weight_bytes=sum(weight["Count"] * _BYTES.get(_precision(weight["Type"]), 0) for weight in weights),
        onnx_names=tuple(dict.fromkeys(re.findall(_ONNX_NAME, entry.get("Metadata", "")))),
        tactic=tactic,
    )


def _types(tensors: Sequence[Mapping[str, str]]) -> set[str]:
    # 11 splits what was one entry into Datatype and Format.
    return {_precision(tensor.get("Format/Datatype", tensor.get("Datatype", ""))) for tensor in tensors}


def _precision(described: str) -> str:
    found = (name for name, pattern in _PRECISIONS if re.search(pattern, described, re.IGNORECASE))
    return next(found, described or "unknown")
