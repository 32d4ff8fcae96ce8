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
    """One TensorRT library and the GPU that its plan will run on; how 8.6, 10, 11 and RTX differ is asked for here, never assumed."""

    trt: Any
    """The module: tensorrt (8.6, 10 or 11) or tensorrt_rtx."""
    platform: Platform
    """As plans' stamps have it."""
    suffix: str = ""
    """What the plan's name carries before `.plan`."""

    @property
    def offline(self) -> bool:
        """Whether the build asks no GPU, and so cannot time kernels."""
        return bool(self.suffix)

    @property
    def strongly_typed(self) -> bool:
        """Whether the ONNX decides every layer's precision; 8.6 has no such mode and is told by flags."""
        return hasattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    @property
    def network_flags(self) -> int:
        """Flags of create_network. EXPLICIT_BATCH, which 8.6 needs, is the only kind from 10 on and gone in 11."""
        flags = self.trt.NetworkDefinitionCreationFlag
        return 1 << int(flags.STRONGLY_TYPED if self.strongly_typed else flags.EXPLICIT_BATCH)

    def named(self, plan: Path) -> Path:
        """The plan's path for this target: one for another GPU does not take this machine's place."""
        return plan.with_name(f"{plan.stem}{self.suffix}.plan")

    def configure(self, config: Any, level: int, cublas: bool) -> None:  # noqa: ANN401
        """Set a builder configuration for the streaming step."""
        trt = self.trt
        config.clear_flag(trt.BuilderFlag.TF32)  # the mel and the reference need FP32's 24 bits, TF32 has 11
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the inspector can name types
        config.builder_optimization_level = level
        if hasattr(config, "max_aux_streams"):
            config.max_aux_streams = 0  # one stream, so that one captured graph is the whole step
        if not cublas:
            own = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
            config.set_tactic_sources(sum(1 << int(source) for source in own))
        if self.offline:
            config.num_compute_capabilities = 1
            config.set_compute_capability(trt.ComputeCapability.SM75, 0)


def this_gpu() -> Target:
    """This machine's first visible GPU and installed TensorRT; raises InputError where there is none."""
    trt = _module("tensorrt", "run `make setup` on a machine with an NVIDIA GPU; others recognise without plans")
    try:
        gpu = Device()
    except InputError as error:
        raise InputError(f"{error}, or build with `--for sm75`") from error
    return Target(trt, Platform(str(trt.__version__), gpu.name, gpu.compute_capability))


def turing_without_gpu(precision: str) -> Target:
    """SM 7.5 by TensorRT-RTX; raises InputError for a precision that it cannot compile, or where it is not installed."""
    if precision == "fp32":
        raise InputError(
            "expected fp16 or int8 for sm75, found fp32; TensorRT-RTX compiles no FP32 GEMM for SM 7.5: "
            "use --precision fp16, or build on a T4"
        )
    trt = _module(
        "tensorrt_rtx", "run `make test-quick` once, which installs tensorrt-rtx-cu13 of requirements/dev.txt"
    )
    return Target(trt, Platform(str(trt.__version__), "SM75 without a GPU", "7.5"), ".sm75")


def _module(name: str, remedy: str) -> Any:  # noqa: ANN401 -- each library is its own untyped module
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise InputError(
            f"expected the Python package {name}, found {' '.join(str(error).split())}; {remedy}"
        ) from error
