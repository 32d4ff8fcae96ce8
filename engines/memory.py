"""Device memory by owner: from the engine where it knows, else by how much CUDA's free memory shrinks as a plan is opened in stages."""

from contextlib import ExitStack, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from runtime.backends.engine import open_engine
from runtime.backends.tensorrt import Lane
from runtime.bundle import read_bundle
from runtime.cuda import Device
from runtime.errors import CudaError

MB = 1e6


@dataclass(frozen=True)
class MemoryByOwner:
    """Device memory of a process that runs one stream, in MB (10**6 bytes), each byte under one owner.

    What is measured is exact to the 2 MiB that CUDA hands out, where nothing else allocates on that GPU meanwhile.
    """

    cuda: float
    """Measured before the plan is loaded: CUDA's own context, and whatever other processes hold."""
    weights: float
    """Measured: the loaded plan, which is its constants and its kernels' code."""
    contexts: float
    """Measured: TensorRT's two execution contexts without their activations, and the code that CUDA loads on their first run."""
    graphs: float
    """Measured: both captured graphs; 0 where a capture fails, and the stream runs without."""
    activations: float
    """Scratch of a step, which the two contexts share."""
    states: float
    """Both sets."""
    inputs_outputs: float
    """Of a step, without the state."""

    @property
    def total(self) -> float:
        """All owners'."""
        return float(sum(astuple(self)))


def memory_by_owner(folder: Path, precision: str) -> MemoryByOwner:
    """Open the plan of the bundle in `folder` as the runtime does, read the memory after each stage, and close it again.

    Call it before anything else of the process is on the GPU, which would count as CUDA's. Raises InputError where there is no GPU, or
    for a plan that the runtime refuses; CudaError where the GPU has no room.
    """
    bundle = read_bundle(folder)
    device = Device()
    started = device.used_memory()
    with ExitStack() as opened:
        _, engine = open_engine(folder, bundle, precision)
        opened.callback(engine.close)
        loaded = device.used_memory()
        lane = Lane(device, engine)
        opened.callback(lane.close)
        ready = device.used_memory()
        with suppress(CudaError):
            lane.capture()
        captured = device.used_memory()
    first, second = engine.sets
    return MemoryByOwner(
        cuda=started / MB,
        weights=max(loaded - started, 0) / MB,
        contexts=max(ready - loaded - second.end - engine.scratch_bytes, 0) / MB,
        graphs=max(captured - ready, 0) / MB,
        activations=engine.scratch_bytes / MB,
        states=(second.end - first.start) / MB,
        inputs_outputs=engine.outputs.end / MB,
    )
