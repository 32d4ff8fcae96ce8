"""What differs between TensorRT 8.6, 10, 11 and RTX, in one place: each difference is asked for, never assumed."""

from typing import Any

from engines.target import Target


def strongly_typed(trt: Any) -> bool:  # noqa: ANN401
    """Whether the ONNX decides every layer's precision; 8.6 has no such mode and is told by flags."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def network_flags(trt: Any) -> int:  # noqa: ANN401
    """Flags of create_network. EXPLICIT_BATCH, which 8.6 needs, is the only kind from 10 on and gone in 11."""
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED if strongly_typed(trt) else flags.EXPLICIT_BATCH)


def configure(target: Target, config: Any, level: int, cublas: bool) -> None:  # noqa: ANN401
    """Set a builder configuration for the streaming step."""
    trt = target.trt
    config.clear_flag(trt.BuilderFlag.TF32)  # the mel and the reference need FP32's 24 bits, TF32 has 11
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the inspector can name types
    config.builder_optimization_level = level
    if hasattr(config, "max_aux_streams"):
        config.max_aux_streams = 0  # one stream, so that one captured graph is the whole step
    if not cublas:
        own = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
        config.set_tactic_sources(sum(1 << int(each) for each in own))
    if target.offline:
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM75, 0)
