"""A TensorRT plan, loaded and found to be the bundle's step or evaluation, on TensorRT 8.6 to 11."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..bundle import Bundle, Graph
from ..cuda import Bytes, Device
from ..entries import GraphEntry, TensorSpec
from ..errors import CudaError, InputError, imported, install
from ..stamp import Platform, check_stamp, plan_path, read_stamp

ALIGNMENT = 512  # bytes; what TensorRT 8.6 asks of its scratch memory, 256 elsewhere; cudaMalloc gives as much
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


class Engine:
    """A loaded plan, its tensors found to be the bundle's, and where a lane's block holds each of them."""

    def __init__(self, tensorrt: Any, device: Device, plan: Path, entry: GraphEntry) -> None:  # noqa: ANN401 -- a module without types
        self._tensorrt, self._device = tensorrt, device
        self._runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise InputError(
                f"expected a plan that TensorRT {tensorrt.__version__} loads, found that it refuses {plan} for a reason logged above; "
                f"{device.room()}, or make the plan again with `make engines`"
            )
        names = map(self._engine.get_tensor_name, range(self._engine.num_io_tensors))
        self.tensors = {name: self._spec(name) for name in names}
        entry.check_tensors(self.tensors.values(), f"the plan {plan}", "make it again with `make engines`")
        self.scratch_bytes = activation_bytes(self._engine)
        """Activations of one run."""
        of, state = self.tensors, entry.state
        written = {f"next_{name}" for name in state}
        self.inputs = Region(0, [of[each.name] for each in entry.inputs if each.name not in state])
        self.outputs = Region(self.inputs.end, [of[each.name] for each in entry.outputs if each.name not in written])
        first = Region(self.outputs.end, [of[name] for name in state])
        second = Region(first.end, [of[name] for name in state])
        self.sets = (first, second)
        """The state is read from one and written to the other, never to the address it is read from."""

    def _spec(self, name: str) -> TensorSpec:
        dtype = self._engine.get_tensor_dtype(name).name
        # Not validated here: what is no type or shape of a bundle's is found by the comparison with the bundle.
        return TensorSpec.model_construct(
            name=name, dtype=DTYPES.get(dtype, dtype), shape=list(self._engine.get_tensor_shape(name))
        )

    def view(self, staging: Bytes, name: str) -> npt.NDArray[Any]:
        """An input or output in pinned memory."""
        spec, start = self.tensors[name], {**self.inputs.offsets, **self.outputs.offsets}[name]
        return spec.view(staging, start)

    def results(self, staging: Bytes) -> dict[str, npt.NDArray[Any]]:
        """All outputs but the state in pinned memory, by name, without the batch's dimension."""
        return {name: self.view(staging, name)[0] for name in self.outputs.offsets}

    def context(self, base: int, reads: Region, writes: Region, **elsewhere: int) -> Any:  # noqa: ANN401 -- TensorRT's
        """An execution context on the block at `base`, bound for good: from one state set to the other.

        `elsewhere`: addresses of tensors that lie in another block.
        """
        scratch = base + self.sets[1].end
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
        addresses = {
            **self.inputs.addresses(base),
            **self.outputs.addresses(base),
            **reads.addresses(base),
            **writes.addresses(base, "next_"),
            **elsewhere,
        }
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise CudaError(f"set_tensor_address: TensorRT refused {name}; its reason is logged above")
        return context

    def close(self) -> None:
        """Unload it; its contexts must be gone."""
        self._engine = self._runtime = None


def open_engine(folder: Path, bundle: Bundle, precision: str, graph: Graph = "step") -> tuple[Device, Engine]:
    """The GPU, and the plan of the bundle in `folder`, its step's or its evaluation's, loaded on it.

    Raises InputError for a plan that is missing, broken or of another bundle, precision, TensorRT or GPU, before loading it;
    CudaError where the GPU has no room.
    """
    own, entry = bundle.graph(precision, graph)
    plan = plan_path(folder, own, graph)
    stamp = read_stamp(plan)
    tensorrt = import_tensorrt()
    device = Device()
    check_stamp(stamp, plan, entry, own, Platform(tensorrt.__version__, device.name, device.compute_capability))
    return device, Engine(tensorrt, device, plan, entry)


def activation_bytes(engine: Any) -> int:  # noqa: ANN401 -- TensorRT's
    """Device memory that one execution context needs, in bytes. 11 has only the second name, 8.6 only the first."""
    if hasattr(engine, "device_memory_size_v2"):
        return int(engine.device_memory_size_v2)
    return int(engine.device_memory_size)


def import_tensorrt() -> Any:  # noqa: ANN401 -- a module without types
    """The module; raises InputError, one line, where it is missing or its libraries do not load."""
    return imported("tensorrt", "TensorRT", f"{install('gpu')}, or choose another backend")
