"""A TensorRT plan, loaded and found to be the bundle's step or evaluation, on TensorRT 8.6 to 11."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle import Bundle, Graph
from ..cuda import Bytes, Device
from ..entries import PROMPT, GraphEntry, TensorSpec
from ..errors import CudaError, InputError, imported, install
from ..stamp import Platform, Stamp, check_stamp, plan_path, read_stamp

ALIGNMENT = 512  # bytes; what TensorRT 8.6 asks of its scratch memory, 256 elsewhere; cudaMalloc gives as much
CLOSED = "expected an open backend, found a closed one; open it again"
DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32"}  # TensorRT's names


class Region:
    """Tensors side by side in a block, from byte `start` to `end`, aligned: one copy or one memset covers them all."""

    def __init__(self, start: int, specs: Iterable[TensorSpec]) -> None:
        self.start = self.end = start
        self.offsets: dict[str, int] = {}
        for spec in specs:
            self.offsets[spec.name] = self.end
            self.end += -(-spec.size // ALIGNMENT) * ALIGNMENT

    def addresses(self, base: int, prefix: str = "") -> dict[str, int]:
        """Address of each tensor, its name behind `prefix`, where the block lies at `base`."""
        return {f"{prefix}{name}": base + offset for name, offset in self.offsets.items()}


@dataclass(frozen=True)
class CheckedPlan:
    """A plan of the bundle, found by its stamp to be made for this GPU and TensorRT, and not loaded yet."""

    tensorrt: Any
    """The module."""
    device: Device
    path: Path
    entry: GraphEntry
    """Of the graph that it was built from."""
    stamp: Stamp


class LoadedPlan:
    """A plan in the GPU's memory, its tensors found to be the bundle's."""

    def __init__(self, checked: CheckedPlan) -> None:
        """Raises InputError for a plan that TensorRT refuses or whose tensors are others."""
        tensorrt, device, plan = checked.tensorrt, checked.device, checked.path
        self._tensorrt, self._device = tensorrt, device
        self._runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise InputError(
                f"expected a plan that TensorRT {tensorrt.__version__} loads, found that it refuses {plan} for a reason logged above; "
                f"{device.room()}, or make the plan again with `make engines`"
            )
        names = map(self._engine.get_tensor_name, range(self._engine.num_io_tensors))
        loaded = {name: (self._dtype(name), self._shape(name)) for name in names}
        checked.entry.check_tensors(loaded, f"the plan {plan}", "make it again with `make engines`")
        self.scratch_bytes = activation_bytes(self._engine)
        """Activations of one run."""

    def _dtype(self, name: str) -> str:
        dtype = str(self._engine.get_tensor_dtype(name).name)
        return DTYPES.get(dtype, dtype)

    def _shape(self, name: str) -> list[int]:
        """As manifests have it: 1 where the number of streams is open."""
        return [1 if axis < 0 else axis for axis in self._engine.get_tensor_shape(name)]

    def new_context(self, scratch: int) -> Any:  # noqa: ANN401 -- TensorRT's
        """An execution context whose activations lie at the address `scratch`. Raises CudaError."""
        # Scratch is ours, so that a lane's two contexts, which never run at once, share it.
        if hasattr(self._tensorrt, "ExecutionContextAllocationStrategy"):  # TensorRT 10 and later
            managed = self._tensorrt.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self._engine.create_execution_context(managed)
        else:
            context = self._engine.create_execution_context_without_device_memory()
        if context is None:
            raise CudaError(
                f"create_execution_context: TensorRT made none; its reason is logged above; {self._device.room()}"
            )
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(scratch, self.scratch_bytes)
        else:
            context.device_memory = scratch
        return context

    def close(self) -> None:
        """Unload it; its contexts must be gone."""
        self._engine = self._runtime = None


def bind(context: Any, addresses: Mapping[str, int]) -> None:  # noqa: ANN401 -- TensorRT's
    """Tell a context where its tensors lie, by name. Raises CudaError."""
    for name, address in addresses.items():
        if not context.set_tensor_address(name, address):
            raise CudaError(f"set_tensor_address: TensorRT refused {name}; its reason is logged above")


class Layout:
    """Where a block of memory holds each tensor of a graph: inputs, outputs, and the state twice."""

    def __init__(self, entry: GraphEntry) -> None:
        self.tensors = {spec.name: spec for spec in entry.tensors}
        state = [entry.input(name) for name in entry.state]
        self.inputs = Region(0, [spec for spec in entry.inputs if spec not in state])
        self.outputs = Region(self.inputs.end, [spec for spec in entry.outputs if spec.name in entry.results])
        first = Region(self.outputs.end, state)
        second = Region(first.end, state)
        self.sets = (first, second)
        """The state is read from one and written to the other, never to the address it is read from."""

    def addresses(self, base: int, reads: Region, writes: Region) -> dict[str, int]:
        """Address of each tensor where the block lies at `base`, the state read from one set and written to the other."""
        addresses = self.inputs.addresses(base) | self.outputs.addresses(base)
        return addresses | reads.addresses(base) | writes.addresses(base, "next_")

    def view(self, staging: Bytes, name: str) -> npt.NDArray[Any]:
        """An input or output in pinned memory."""
        spec, start = self.tensors[name], {**self.inputs.offsets, **self.outputs.offsets}[name]
        return spec.view(staging, start)

    def prompts(self, staging: Bytes) -> npt.NDArray[np.int32]:
        """The streams' prompts in pinned memory; of a graph that takes none, numbers that nothing reads."""
        if PROMPT in self.inputs.offsets:
            return self.view(staging, PROMPT)
        return np.zeros(self.tensors["audio"].shape[:1], np.int32)

    def results(self, staging: Bytes) -> dict[str, npt.NDArray[Any]]:
        """All outputs but the state in pinned memory, by name, without the batch's dimension."""
        return {name: self.view(staging, name)[0] for name in self.outputs.offsets}


class Engine(LoadedPlan, Layout):
    """The plan of a step or an evaluation of one stream, and where a lane's block holds its tensors."""

    def __init__(self, checked: CheckedPlan) -> None:
        """Raises InputError as LoadedPlan does."""
        LoadedPlan.__init__(self, checked)
        Layout.__init__(self, checked.entry)

    def contexts(self, base: int, **elsewhere: int) -> list[Any]:
        """Contexts as `context` makes them: from the first state set to the second, and back."""
        first, second = self.sets
        return [self.context(base, reads, writes, **elsewhere) for reads, writes in ((first, second), (second, first))]

    def context(self, base: int, reads: Region, writes: Region, **elsewhere: int) -> Any:  # noqa: ANN401 -- TensorRT's
        """An execution context on the block at `base`, bound for good: from one state set to the other.

        `elsewhere`: addresses of tensors that lie in another block.
        """
        context = self.new_context(base + self.sets[1].end)
        bind(context, self.addresses(base, reads, writes) | elsewhere)
        return context


def check_plan(folder: Path, bundle: Bundle, precision: str, graph: Graph) -> CheckedPlan:
    """The plan of a graph of the bundle in `folder`.

    Raises InputError for a plan that is missing, broken or of another bundle, precision, TensorRT or GPU, or where there is no GPU.
    """
    own, entry = bundle.graph(precision, graph)
    plan = plan_path(folder, own, graph)
    stamp = read_stamp(plan)
    tensorrt = import_tensorrt()
    device = Device()
    check_stamp(stamp, plan, entry, own, Platform(tensorrt.__version__, device.name, device.compute_capability))
    return CheckedPlan(tensorrt, device, plan, entry, stamp)


def open_engine(folder: Path, bundle: Bundle, precision: str, graph: Graph = "step") -> tuple[Device, Engine]:
    """The GPU, and the plan of the bundle in `folder`, its step's or its evaluation's, loaded on it.

    Raises InputError for a plan that is missing, broken or of another bundle, precision, TensorRT or GPU, before loading it;
    CudaError where the GPU has no room.
    """
    checked = check_plan(folder, bundle, precision, graph)
    return checked.device, Engine(checked)


def activation_bytes(engine: Any) -> int:  # noqa: ANN401 -- TensorRT's
    """Device memory that one execution context needs, in bytes. 11 has only the second name, 8.6 only the first."""
    newer = hasattr(engine, "device_memory_size_v2")
    return int(engine.device_memory_size_v2 if newer else engine.device_memory_size)


def import_tensorrt() -> Any:  # noqa: ANN401 -- a module without types
    """The module; raises InputError, one line, where it is missing or its libraries do not load."""
    return imported("tensorrt", "TensorRT", f"{install('gpu')}, or choose another backend")
