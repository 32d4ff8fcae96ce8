"""The kernels of a captured step, each by name and time, without a profiler: the CUDA graph has those that TensorRT's inspector hides."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median
from typing import Any, Literal

from engines.kernel_names import REGRET, kind_of, readable
from runtime.backends.engine import open_engine
from runtime.backends.tensorrt import Lane
from runtime.bundle import read_bundle
from runtime.cuda import Device, Queue
from runtime.driver import Driver
from runtime.errors import CudaError

COPIES = 20
LAUNCHES = 7
COPIED = ("Kernel", "Memcpy", "Memset")  # types of node


@dataclass(frozen=True)
class Kernel:
    """One node of the captured step: a kernel, or a copy or a memset (`memcpy`, `memset`, without grid and block)."""

    name: str
    """Demangled, without its parameters."""
    kind: str
    """See `kernel_names.kind_of`."""
    grid: tuple[int, ...]
    """Blocks along x, y, z."""
    block: tuple[int, ...]
    """Threads along x, y, z."""
    microseconds: float | None
    """Of one of COPIES in a row, median of LAUNCHES: the kernel warm and back to back, the gap to the next one included.

    Not its time within the step, where its weights come from memory and not from the L2 cache; nor what a profiler gives, which leaves
    the gap out. None where a copy cannot be made or fails.
    """


@dataclass(frozen=True)
class StepProfile:
    """A captured step."""

    microseconds: float
    """Of the whole step, copies included, median of LAUNCHES; what the kernels' sum is to be compared with."""
    kernels: list[Kernel]
    """In the order in which they run."""

    @property
    def regret_microseconds(self) -> float:
        """Lost to kernels that only quantise, dequantise or reformat."""
        return sum(each.microseconds or 0 for each in self.kernels if each.kind in REGRET)


def profile_step(folder: Path, precision: str) -> StepProfile:
    """Open the plan of the bundle in `folder` as the runtime does, capture a step, time it and each of its kernels, and close it again.

    Raises InputError for a plan that the runtime refuses; CudaError where the GPU has no room or the capture fails, where CUDA's driver
    API is missing or too old (names came with 12.3), and where a kernel that ran on its own broke the process's CUDA context.
    """
    driver = Driver()
    with ExitStack() as opened:
        device, engine = open_engine(folder, read_bundle(folder), precision)
        opened.callback(engine.close)
        lane = Lane(device, engine)
        opened.callback(lane.close)
        # It stays alive to the end, because it holds the arguments of the copies' kernels.
        graph = opened.enter_context(lane.recorded())
        whole = _microseconds(device, graph)
        # In the step's order, after a whole one: each kernel finds the inputs it would have, so that no index leads out of a table.
        return StepProfile(whole, [_kernel(device, driver, node) for node in _in_order(device, graph)])


def _in_order(device: Device, graph: Any) -> Iterable[Any]:  # noqa: ANN401
    nodes, _ = device.call("cudaGraphGetNodes", graph, device.call("cudaGraphGetNodes", graph)[1])
    # The first in 12.3 to 12.9, beside one that fails at programmatic edges; the only one, by either name, before and after.
    name = "cudaGraphGetEdges_v2" if hasattr(device.api, "cudaGraphGetEdges_v2") else "cudaGraphGetEdges"
    *_, number = device.call(name, graph)
    before, after, *_ = device.call(name, graph, number)
    order: TopologicalSorter[Any] = TopologicalSorter(dict.fromkeys(nodes, ()))
    for first, second in zip(before, after, strict=True):
        order.add(second, first)
    return order.static_order()


def _kernel(device: Device, driver: Driver, node: Any) -> Kernel:  # noqa: ANN401
    kind = device.call("cudaGraphNodeGetType", node).name.removeprefix("cudaGraphNodeType")
    name, grid, block = kind.lower(), (), ()
    if kind == "Kernel":
        params = driver.call("cuGraphKernelNodeGetParams", node)
        by_function = ("cuFuncGetName", params.func) if int(params.func) else ("cuKernelGetName", params.kern)
        name = readable(driver.call(*by_function).decode())
        grid, block = (tuple(getattr(params, f"{of}Dim{axis}") for axis in "XYZ") for of in ("grid", "block"))
    microseconds = None
    if kind in COPIED:
        with suppress(CudaError), _made(device, "Graph", 0) as copies:
            _copy(driver, node, kind, copies)
            microseconds = _microseconds(device, copies) / COPIES
    return Kernel(name, kind_of(name), grid, block, microseconds)


def _copy(driver: Driver, node: Any, kind: str, graph: Any) -> None:  # noqa: ANN401
    """Fill an empty graph with a chain of the node's copies."""
    params = driver.call(f"cuGraph{kind}NodeGetParams", node)
    context = () if kind == "Kernel" else (driver.call("cuCtxGetCurrent"),)
    before: list[Any] = []
    for _ in range(COPIES):
        before = [driver.call(f"cuGraphAdd{kind}Node", graph, before, len(before), params, *context)]
        if kind == "Kernel":
            driver.call("cuGraphKernelNodeCopyAttributes", before[0], node)  # clusters, which params has not


def _microseconds(device: Device, graph: Any) -> float:  # noqa: ANN401
    """Median time of the graph as a part of another one: the launch's own cost is not in it."""
    call = device.call
    with (
        _made(device, "Graph", 0) as whole,
        _made(device, "Event") as start,
        _made(device, "Event") as end,
        Queue(device) as queue,
    ):
        warm = call("cudaGraphAddChildGraphNode", whole, [], 0, graph)
        started = call("cudaGraphAddEventRecordNode", whole, [warm], 1, start)
        timed = call("cudaGraphAddChildGraphNode", whole, [started], 1, graph)
        call("cudaGraphAddEventRecordNode", whole, [timed], 1, end)
        executable = queue.instantiate(whole)
        times = []
        for _ in range(LAUNCHES):
            queue.launch(executable)
            queue.wait()
            times.append(1e3 * call("cudaEventElapsedTime", start, end))
        return float(median(times))


@contextmanager
def _made(device: Device, kind: Literal["Graph", "Event"], *flags: int) -> Iterator[Any]:
    made = device.call(f"cuda{kind}Create", *flags)
    try:
        yield made
    finally:
        device.call(f"cuda{kind}Destroy", made)
