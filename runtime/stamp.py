"""The stamp beside a plan: what the plan was built from and for, checked before TensorRT loads it."""

import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from .bundle import Graph, Precision
from .entries import GraphEntry, Hash, Strict
from .errors import InputError
from .files import sha256


class Platform(NamedTuple):
    """What a plan runs on, and on nothing else."""

    tensorrt: str
    """Version, as in 10.16.1.11."""
    gpu: str
    """The GPU's name, or `SM75 without a GPU`."""
    compute_capability: str
    """As in 7.5."""


class Stamp(Strict):
    """What a plan's JSON says of it."""

    schema_version: Literal[1] = 1
    step_sha256: Hash
    """Of the bundle's ONNX file that was built."""
    precision: Precision
    plan_sha256: Hash
    tensorrt: str
    """See Platform, and so for the next two."""
    gpu: str
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d+$")]
    options: dict[str, str | int | bool]
    """What the builder was told."""
    weights_typed: Literal["strong", "flags"]
    """Whether the ONNX decides every layer's precision, or the builder does within its flags (TensorRT 8.6)."""
    build_s: Annotated[float, Field(ge=0)]
    """Seconds the build took."""
    created: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}")]
    """ISO date."""

    @property
    def platform(self) -> Platform:
        """That it was built for."""
        return Platform(self.tensorrt, self.gpu, self.compute_capability)


def plan_path(bundle_folder: Path, precision: str, graph: Graph = "step") -> Path:
    """Where the plan of a bundle's graph lies: BUNDLE/plans/step.PRECISION.plan, rnnt.PRECISION.plan or batched.PRECISION.plan."""
    return bundle_folder / "plans" / f"{graph}.{precision}.plan"


def stamp_path(plan: Path) -> Path:
    """Where the stamp of a plan lies."""
    return plan.with_name(f"{plan.name}.json")


def read_stamp(plan: Path) -> Stamp:
    """The stamp of `plan`; raises InputError where the plan or its stamp is missing, or the stamp is broken."""
    named = re.search(r"\.(fp\d+|int8)\.", plan.name)
    make = _make(plan, named[1] if named else "...")
    if not plan.is_file():
        raise InputError(f"expected a plan at {plan}, found none; make it with {make}")
    return Stamp.read(stamp_path(plan), "a plan's stamp", make)


def check_stamp(stamp: Stamp, plan: Path, graph: GraphEntry, precision: str, here: Platform) -> None:
    """Raise InputError, one line, unless `plan` is whole and was built from this graph for the platform `here`."""
    make = f"make it again with {_make(plan, precision)}"
    expectations = [
        ("in precision", precision, stamp.precision, make),
        ("for TensorRT", here.tensorrt, stamp.tensorrt, f"{make}, or install TensorRT {stamp.tensorrt}"),
        ("for compute capability", here.compute_capability, stamp.compute_capability, f"{make} on this GPU"),
        ("for the GPU", here.gpu, stamp.gpu, f"{make} on this GPU"),
        (f"from a {graph.file} with sha256", _short(graph.sha256), _short(stamp.step_sha256), make),
        ("of sha256", _short(stamp.plan_sha256), _short(sha256(plan)), f"it is truncated or changed: {make}"),
    ]
    for what, expected, found, remedy in expectations:
        if expected != found:
            raise InputError(f"expected the plan {plan} {what} {expected}, found {found}; {remedy}")


def _make(plan: Path, precision: str) -> str:
    return f"`make engines PRECISION={precision}{' BATCH=1' if plan.name.startswith('batched.') else ''}`"


def _short(digest: str) -> str:
    return f"{digest[:12]}..."
