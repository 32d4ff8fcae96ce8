"""The few CUDA runtime calls that a step needs: every return code checked, and one owner for all that they allocate."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from .errors import CudaError, InputError, install

BINDINGS = ("cuda.bindings.runtime", "cuda.cudart")  # cuda-python 12.6 and later, and the 12.x before it

Bytes = npt.NDArray[np.uint8]


class Device:
    """The first visible GPU; CUDA_VISIBLE_DEVICES chooses which one that is."""

    def __init__(self) -> None:
        """Raises InputError where cuda-python or the GPU is missing."""
        self.api = _bindings()
        self.name = "the GPU"
        """As nvidia-smi gives it."""
        try:
            properties = self.call("cudaGetDeviceProperties", 0)
        except CudaError as error:
            raise InputError(
                f"expected an NVIDIA GPU and its driver, found {error}; choose the backend onnxruntime-cpu where there is none"
            ) from error
        self._driver = _driver()
        self.name = properties.name.decode()
        self.compute_capability = f"{properties.major}.{properties.minor}"

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all, with what other processes hold counted as used."""
        free, total = self.call("cudaMemGetInfo")
        return free, total

    def used_memory(self) -> int:
        """Bytes of its memory that are in use, by whatever process."""
        free, total = self.memory()
        return total - free

    def room(self) -> str:
        """How much memory is free and what to do where that is too little, for a message."""
        with suppress(CudaError):
            free, total = self.memory()
            return f"{free / 1e6:.0f} of {total / 1e6:.0f} MB are free on {self.name}: end what else uses it, see nvidia-smi"
        return "end what else uses the GPU, see nvidia-smi"

    def call(self, name: str, *args: object) -> Any:  # noqa: ANN401 -- each call's own: None, a value or a list of them
        """Call `name` of the CUDA runtime and return what it gives beside its code; raises CudaError for any but success."""
        code, *values = getattr(self.api, name)(*args)
        if code != self.api.cudaError_t.cudaSuccess:
            self.api.cudaGetLastError()  # clears the code, which the next call would return otherwise
            found = f"{name}: {self._text('cudaGetErrorName', code)}, {self._text('cudaGetErrorString', code)}"
            full = code == self.api.cudaError_t.cudaErrorMemoryAllocation and name != "cudaMemGetInfo"
            raise CudaError(f"{found}; {self.room()}" if full else found)
        return values[0] if len(values) == 1 else values or None

    def wait(self, event: Any) -> None:  # noqa: ANN401 -- cudaEvent_t
        """Block until what was recorded in `event` is done, while other threads run; raises CudaError."""
        # By the driver, to which a runtime's event is one of its own: ctypes gives the interpreter to other threads meanwhile,
        # which cuda-python before 12.9.1 does not. The runtime's call has nothing left to wait for and says how it went.
        self._driver.cuEventSynchronize(ctypes.c_void_p(int(event)))
        self.call("cudaEventSynchronize", event)

    def _text(self, name: str, code: object) -> str:
        _, text = getattr(self.api, name)(code)
        return str(text.decode())


class Graph(NamedTuple):
    """Recorded work, launched in one call."""

    executable: Any
    """cudaGraphExec_t."""
    kernels: int
    """Kernels in it: what a step without the graph launches one by one."""


class Queue:
    """One non-blocking stream with the memory and the graphs used on it; a context manager: leaving it frees them all.

    One thread at a time may use a queue; queues do not wait for each other.
    """

    def __init__(self, device: Device) -> None:
        """Raises CudaError, as every method does."""
        self._device = device
        api = device.api
        with ExitStack() as made:
            self._owned = made
            self._stream = self._own("cudaStreamDestroy", "cudaStreamCreateWithFlags", api.cudaStreamNonBlocking)
            self._spun, self._slept = (
                self._own("cudaEventDestroy", "cudaEventCreateWithFlags", api.cudaEventDisableTiming | flag)
                for flag in (0, api.cudaEventBlockingSync)
            )
            self._owned = made.pop_all()

    @property
    def handle(self) -> int:
        """cudaStream_t as TensorRT takes it."""
        return int(self._stream)

    def allocate(self, size: int) -> int:
        """Address of `size` bytes on the device, 256-byte aligned, not initialised."""
        return int(self._own("cudaFree", "cudaMalloc", size))

    def pinned(self, size: int) -> Bytes:
        """`size` zeroed bytes of page-locked host memory; the array must not be used once the queue is left."""
        address = self._own("cudaFreeHost", "cudaHostAlloc", size, self._device.api.cudaHostAllocDefault)
        array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(address)))
        array[:] = 0
        return array

    def keep(self, close: Callable[[], object]) -> None:
        """Call `close` once the queue is left, its work done and what was made on it later freed."""
        self._owned.callback(close)

    def upload(self, address: int, host: Bytes) -> None:
        """Enqueue the copy of pinned bytes to the device."""
        kind = self._device.api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._device.call("cudaMemcpyAsync", address, host.ctypes.data, host.nbytes, kind, self._stream)

    def download(self, host: Bytes, address: int) -> None:
        """Enqueue the copy of the device's bytes to pinned memory."""
        kind = self._device.api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._device.call("cudaMemcpyAsync", host.ctypes.data, address, host.nbytes, kind, self._stream)

    def copy(self, to: int, address: int, size: int) -> None:
        """Enqueue the copy of `size` bytes from one place on the device to another."""
        kind = self._device.api.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._device.call("cudaMemcpyAsync", to, address, size, kind, self._stream)

    def clear(self, address: int, size: int) -> None:
        """Enqueue zeroing of `size` bytes on the device."""
        self._device.call("cudaMemsetAsync", address, 0, size, self._stream)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Record what `work` enqueues, without running it. After a CudaError the queue works as before."""
        with self.recorded(work) as graph:
            return self.instantiate(graph)

    @contextmanager
    def recorded(self, work: Callable[[], None]) -> Iterator[Any]:
        """What `capture` records as a cudaGraph_t, which lives until the block is left."""
        call, api = self._device.call, self._device.api
        # Thread-local: what other threads allocate or launch meanwhile neither fails nor is recorded.
        call("cudaStreamBeginCapture", self._stream, api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        except BaseException:
            with suppress(CudaError):  # the stream leaves capture mode even where this calls the capture invalid
                call("cudaGraphDestroy", call("cudaStreamEndCapture", self._stream))
            raise
        graph = call("cudaStreamEndCapture", self._stream)
        with ExitStack() as recorded:
            recorded.callback(call, "cudaGraphDestroy", graph)
            yield graph

    def instantiate(self, graph: Any) -> Graph:  # noqa: ANN401 -- CUDA's
        """A cudaGraph_t made ready to be launched on this queue."""
        call = self._device.call
        executable = self._own("cudaGraphExecDestroy", "cudaGraphInstantiate", graph, 0)
        call("cudaGraphUpload", executable, self._stream)  # here, and not within the first launch
        nodes, _ = call("cudaGraphGetNodes", graph, call("cudaGraphGetNodes", graph)[1])
        kernel = self._device.api.cudaGraphNodeType.cudaGraphNodeTypeKernel
        return Graph(executable, sum(call("cudaGraphNodeGetType", node) == kernel for node in nodes))

    def launch(self, graph: Graph) -> None:
        """Enqueue a graph of this queue."""
        self._device.call("cudaGraphLaunch", graph.executable, self._stream)

    def wait(self, *, asleep: bool = False) -> None:
        """Block until what was enqueued so far is done; other threads run meanwhile.

        A core spins for that time, or, `asleep`, sleeps until an interrupt wakes it: 0.2 ms later on an H200's host.
        """
        event = self._slept if asleep else self._spun
        self._device.call("cudaEventRecord", event, self._stream)
        self._device.wait(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._owned:  # frees the newest first, also where the wait fails
            self._device.call("cudaStreamSynchronize", self._stream)

    def _own(self, free: str, make: str, *args: object) -> Any:  # noqa: ANN401 -- CUDA's handles have a type each
        handle = self._device.call(make, *args)
        self._owned.callback(self._device.call, free, handle)
        return handle


def _bindings() -> Any:  # noqa: ANN401 -- a module without types
    for name in BINDINGS:
        with suppress(ImportError):
            return import_module(name)
    raise InputError(f"expected cuda-python 12 or 13, found none; {install('gpu')}")


def _driver() -> ctypes.CDLL:
    """The driver itself, which the CUDA runtime loads by the same name."""
    return ctypes.CDLL("libcuda.so.1")
