"""Run by test_api.py beside the real bindings of one TensorRT version, with no library behind them: builds and inspects a plan.

Every object that would need the library is an autospec of its real class, so that a name which this version lacks raises; what
the code subclasses (ILogger, IProgressMonitor) and every enum is the real one. Prints what was asked for as JSON.
"""

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock, create_autospec

import tensorrt as trt
from rich.progress import Progress

import engines.build
from engines.build import BuildOptions, PlanBuild
from engines.layers import plan_layers
from engines.progress import make_monitor
from engines.target import Target
from runtime.backends.engine import activation_bytes
from runtime.bundle import Precision
from runtime.stamp import Platform, plan_path


def spec(name: str) -> Any:  # noqa: ANN401
    """An instance of the real class with exactly its attributes."""
    return create_autospec(getattr(trt, name), spec_set=True, instance=True)


folder = Path(sys.argv[1])
precision = cast("Precision", sys.argv[2])
builder, config, network, parser, cache = map(
    spec, ("Builder", "IBuilderConfig", "INetworkDefinition", "OnnxParser", "ITimingCache")
)
builder.create_network.return_value = network
builder.create_builder_config.return_value = config
builder.build_serialized_network.return_value = b"plan"
config.create_timing_cache.return_value = cache
config.set_timing_cache.return_value = True
cache.serialize.return_value = b"cache"

runtime, engine, inspector = map(spec, ("Runtime", "ICudaEngine", "EngineInspector"))
runtime.deserialize_cuda_engine.return_value = engine
engine.create_engine_inspector.return_value = inspector
inspector.get_engine_information.return_value = json.dumps({"Layers": [{"Name": "a layer", "LayerType": "kgen"}]})
engine.device_memory_size_v2 = 5_000_000

factories = {
    "Builder": MagicMock(return_value=builder),
    "OnnxParser": MagicMock(return_value=parser),
    "Runtime": MagicMock(return_value=runtime),
}
library = SimpleNamespace(**{name: getattr(trt, name) for name in dir(trt)} | factories)
target = Target(library, Platform(trt.__version__, "A GPU", "9.0"))
engines.build.TIMING = folder / "timing"
stamp = PlanBuild(folder, precision, target, BuildOptions(level=2, cublas=False)).run()
parsed = [hashlib.sha256(parser.parse.call_args.args[0]).hexdigest()]

tensor, profile = spec("ITensor"), spec("IOptimizationProfile")
tensor.name, tensor.shape, network.num_inputs = "valid", (-1,), 1
network.get_input.return_value = tensor
builder.create_optimization_profile.return_value = profile
many = PlanBuild(folder, precision, target, BuildOptions(level=2, cublas=False), "batched", sizes=(1, 4))
many.run()
parsed.append(hashlib.sha256(parser.parse.call_args.args[0]).hexdigest())
layers = plan_layers(library, plan_path(folder, precision))

with Progress(disable=True) as progress:
    signals: list[int] = []
    monitor = make_monitor(trt, progress, signals)
    monitor.phase_start("outer", None, 2)
    monitor.phase_start("inner", "outer", 3)
    shown = [task.description for task in progress.tasks]
    goes_on = monitor.step_complete("inner", 0)
    signals.append(2)
    stops = not monitor.step_complete("inner", 1)
    monitor.phase_finish("inner")
    left = [task.description for task in progress.tasks]

seen = {
    "version": trt.__version__,
    "network_flags": builder.create_network.call_args.args[0],
    "strongly_typed": 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
    "parsed": parsed,
    "profiles": [each.args for each in profile.set_shape.call_args_list],
    "profiles_added": config.add_optimization_profile.call_count,
    "cleared": [each.args[0].name for each in config.clear_flag.call_args_list],
    "set": [each.args[0].name for each in config.set_flag.call_args_list],
    "max_aux_streams": config.max_aux_streams,
    "level": config.builder_optimization_level,
    "verbosity": config.profiling_verbosity.name,
    "tactics": config.set_tactic_sources.call_args.args[0],
    "own_kernels": 1 << int(trt.TacticSource.EDGE_MASK_CONVOLUTIONS) | 1 << int(trt.TacticSource.JIT_CONVOLUTIONS),
    "monitored": isinstance(config.progress_monitor, trt.IProgressMonitor),
    "monitor": [shown, goes_on, stops, left],
    "lacks": [
        name
        for name, owner in (
            ("FP16", trt.BuilderFlag),
            ("EXPLICIT_BATCH", trt.NetworkDefinitionCreationFlag),
            ("device_memory_size", trt.ICudaEngine),
        )
        if not hasattr(owner, name)
    ],
    "runs_many": [
        name
        for name in ("set_optimization_profile_async", "set_input_shape", "set_tensor_address", "execute_async_v3")
        if hasattr(trt.IExecutionContext, name)
    ],
    "layers": [each.name for each in layers],
    "activation_bytes": activation_bytes(engine),
    "stamp": stamp.model_dump(include={"tensorrt", "gpu", "weights_typed", "precision"}),
    "timing": sorted(each.name for each in engines.build.TIMING.iterdir()),
}
print(json.dumps(seen))
