"""The stamp beside a plan: what the plan was built from and for, checked before TensorRT loads it."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .bundle import Graph, Precision
from .entries import GraphEntry, Hash
from .errors import InputError, what_is_wrong
from .files import sha256


class Stamp(BaseModel):
    """What a plan's JSON says of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal[1] = 1
    step_sha256: Hash
    """Of the bundle's ONNX file that was built."""
    precision: Precision
    plan_sha256: Hash
    tensorrt: str
    """Version, as in 10.16.1.11; an engine runs on no other."""
    gpu: str
    """The GPU's name, or `SM75 without a GPU`."""
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d+$")]
    options: dict[str, str | int | bool]
    """What the builder was told."""
    weights_typed: Literal["strong", "flags"]
    """Whether the ONNX decides every layer's precision, or the builder does within its flags (TensorRT 8.6)."""
    build_s: Annotated[float, Field(ge=0)]
    """Seconds the build took."""
    created: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}")]
    """ISO date."""


def plan_path(bundle_folder: Path, precision: str, graph: Graph = "step") -> Path:
    """Where the plan of a bundle's step lies: BUNDLES/../plans/NAME.PRECISION.plan; that of its evaluation: NAME.rnnt.PRECISION.plan."""
    plans = Path(os.path.normpath(bundle_folder / ".." / ".." / "plans"))
    kind = "" if graph == "step" else f".{graph}"
    return plans / f"{bundle_folder.absolute().name}{kind}.{precision}.plan"


def stamp_path(plan: Path) -> Path:
    """Where the stamp of a plan lies."""
    return plan.with_name(f"{plan.name}.json")


def read_stamp(plan: Path) -> Stamp:
    """The stamp of `plan`; raises InputError where the plan or its stamp is missing, or the stamp is broken."""
    named = re.search(r"\.(fp\d+|int8)\.", plan.name)
    make = f"`make engines PRECISION={named[1] if named else '...'}`"
    if not plan.is_file():
        raise InputError(f"expected a plan at {plan}, found none; make it with {make}")
    path = stamp_path(plan)
    if not path.is_file():
        raise InputError(f"expected the stamp {path.name} beside {plan}, found none; make the plan again with {make}")
    try:
        return Stamp.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"expected a valid {path}, found at {what_is_wrong(error)}; make the plan again with {make}"
        ) from error


def check_stamp(
    stamp: Stamp,
    plan: Path,
    graph: GraphEntry,
    precision: str,
    *,
    tensorrt_version: str,
    gpu: str,
    compute_capability: str,
) -> None:
    """Raise InputError, one line, unless `plan` is whole and was built from this graph for this TensorRT and GPU."""
    make = f"make it again with `make engines PRECISION={precision}`"
    expectations = [
        ("in precision", precision, stamp.precision, make),
        ("for TensorRT", tensorrt_version, stamp.tensorrt, f"{make}, or install TensorRT {stamp.tensorrt}"),
        ("for compute capability", compute_capability, stamp.compute_capability, f"{make} on this GPU"),
        ("for the GPU", gpu, stamp.gpu, f"{make} on this GPU"),
        (f"from a {graph.file} with sha256", _short(graph.sha256), _short(stamp.step_sha256), make),
        ("of sha256", _short(stamp.plan_sha256), _short(sha256(plan)), f"it is truncated or changed: {make}"),
    ]
    for what, expected, found, remedy in expectations:
        if expected != found:
            raise InputError(f"expected the plan {plan} {what} {expected}, found {found}; {remedy}")


def _short(digest: str) -> str:
    return f"{digest[:12]}..."
