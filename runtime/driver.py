"""CUDA's driver API, for what its runtime does not do: kernels of our own from PTX, and what a captured graph's kernels are called."""

import ctypes
from contextlib import suppress
from importlib import import_module
from typing import Any

from .errors import CudaError

BINDINGS = ("cuda.bindings.driver", "cuda.cuda")  # cuda-python 12.6 and later, and the 12.x before it


class Driver:
    """The driver's calls, every return code checked."""

    def __init__(self) -> None:
        """Raises CudaError where cuda-python does not have it."""
        for name in BINDINGS:
            with suppress(ImportError):
                self._api = import_module(name)
                return
        raise CudaError("expected cuda-python with CUDA's driver API, found none")

    def call(self, name: str, *args: object) -> Any:  # noqa: ANN401 -- each call's own
        """Call `name` and return what it gives beside its code; raises CudaError for any but success."""
        try:
            code, *values = getattr(self._api, name)(*args)
        except (AttributeError, RuntimeError) as error:  # of the bindings, of the driver's library
            raise CudaError(f"{name}: {error}") from error
        if code != self._api.CUresult.CUDA_SUCCESS:
            raise CudaError(f"{name}: {code.name}")
        return values[0] if values else None


class Module:
    """Kernels of one parameter each, which the driver compiles for the GPU from PTX.

    They are in the context that is current in the calling thread: a call of CUDA's runtime comes before any of these in each thread.
    """

    def __init__(self, ptx: bytes) -> None:
        """Raises CudaError, as every method does."""
        self._driver = Driver()
        self._module = self._driver.call("cuModuleLoadData", ptx + b"\0")

    def function(self, name: str) -> Any:  # noqa: ANN401 -- CUDA's
        """A kernel, for `launch`."""
        return self._driver.call("cuModuleGetFunction", self._module, name.encode())

    def launch(
        self,
        function: Any,  # noqa: ANN401
        grid: tuple[int, int, int],
        threads: int,
        stream: int,
        parameter: ctypes.Structure,
    ) -> None:
        """Enqueue a kernel of `grid` blocks along x, y, z with so many threads each; `parameter` is copied now."""
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(parameter))
        shared_memory, extra = 0, 0
        self._driver.call(
            "cuLaunchKernel", function, *grid, threads, 1, 1, shared_memory, stream, ctypes.addressof(pointers), extra
        )

    def close(self) -> None:
        """Unload them; nothing that was enqueued may still run."""
        self._driver.call("cuModuleUnload", self._module)
