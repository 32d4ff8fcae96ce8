"""What a plan is built for: a TensorRT library and a GPU."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.cuda import Device
from runtime.errors import InputError
from runtime.stamp import Platform


@dataclass(frozen=True)
class Target:
    """One TensorRT library and the GPU that its plan will run on."""

    trt: Any
    """The module: tensorrt (8.6, 10 or 11) or tensorrt_rtx."""
    gpu: str
    """The GPU's name, or `SM75 without a GPU`."""
    compute_capability: str
    """As in 7.5."""
    suffix: str = ""
    """What the plan's name carries before `.plan`."""

    @property
    def offline(self) -> bool:
        """Whether the build asks no GPU, and so cannot time kernels."""
        return bool(self.suffix)

    @property
    def platform(self) -> Platform:
        """As plans' stamps have it."""
        return Platform(str(self.trt.__version__), self.gpu, self.compute_capability)

    def named(self, plan: Path) -> Path:
        """The plan's path for this target: one for another GPU does not take this machine's place."""
        return plan.with_name(f"{plan.stem}{self.suffix}.plan")


def this_gpu() -> Target:
    """This machine's first visible GPU and installed TensorRT; raises InputError where there is none."""
    trt = _module("tensorrt", "run `make setup` on a machine with an NVIDIA GPU, or build with `--for sm75`")
    try:
        gpu = Device()
    except InputError as error:
        raise InputError(f"{error}, or build with `--for sm75`") from error
    return Target(trt, gpu.name, gpu.compute_capability)


def turing_without_gpu(precision: str) -> Target:
    """SM 7.5 by TensorRT-RTX; raises InputError for a precision that it cannot compile, or where it is not installed."""
    if precision == "fp32":
        raise InputError(
            "expected fp16 or int8 for sm75, found fp32; TensorRT-RTX compiles no FP32 GEMM for SM 7.5: "
            "use --precision fp16, or build on a T4"
        )
    trt = _module("tensorrt_rtx", "run `make test` once, which installs tensorrt-rtx-cu13 of requirements/dev.txt")
    return Target(trt, "SM75 without a GPU", "7.5", ".sm75")


def _module(name: str, remedy: str) -> Any:  # noqa: ANN401 -- each library is its own untyped module
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise InputError(
            f"expected the Python package {name}, found {' '.join(str(error).split())}; {remedy}"
        ) from error
