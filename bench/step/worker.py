"""A backend's steps, measured: in a process of the ladder or the ablation, or in that of `bench steps`.

Lean imports: a process's start-up is a figure.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from bench.step.host_state import HostStateBackend
from bench.step.timing import COPY_BYTES, StepMeasurement, copy_bandwidth, time_steps
from runtime.backends import Backend, open_backend
from runtime.bundle import Bundle, read_bundle
from runtime.cuda import Device, Queue
from runtime.errors import CudaError, exit_code
from runtime.recognizer import ALL_VALID

WINDOWS = 16  # different windows of noise, so that no step repeats its predecessor's


def measure_backend(
    backend: Backend, bundle: Bundle, precision: str, steps: int, paced: int | None = None
) -> StepMeasurement:
    """Time the steps of an open backend, `paced` of them at the pace of speech, and the GPU's copies where it has one."""
    windows = np.random.default_rng(0).standard_normal((WINDOWS, bundle.window_samples)).astype(np.float32) * 0.05
    state, taken = backend.new_state(), 0

    def step(index: int) -> None:
        nonlocal state, taken
        taken += 1
        state = backend.step(windows[index % WINDOWS], ALL_VALID, state).state

    timings = time_steps(step, steps, bundle.chunk_samples / bundle.sample_rate, paced)
    turns = backend.launches.further_turns
    engine = backend.name.partition("-")[0]
    return StepMeasurement(
        timings=timings,
        engine=f"{engine} {import_module(engine).__version__}",
        cuda_graph=backend.launches.cuda_graph,
        launches_per_step=backend.launches.kernels_per_step,
        weights_bytes=bundle.step(precision).bytes,
        copy_bandwidth=None if backend.name.endswith("-cpu") else gpu_bandwidth(Device()),
        further_turns_per_step=None if turns is None else turns / taken,
    )


def gpu_bandwidth(device: Device) -> float:
    """Return the bytes read and written per second by large copies within the GPU's memory."""
    with Queue(device) as queue:
        source, target = queue.allocate(COPY_BYTES), queue.allocate(COPY_BYTES)
        kind = device.api.cudaMemcpyKind.cudaMemcpyDeviceToDevice

        def copy() -> None:
            device.call("cudaMemcpyAsync", target, source, COPY_BYTES, kind, queue.handle)

        return copy_bandwidth(copy, queue.wait)


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line that the ladder and the ablation make."""
    parser = argparse.ArgumentParser(prog="python -m bench.step.worker", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--backend", required=True, help="as `bench steps` has them")
    parser.add_argument("--precision", required=True)
    parser.add_argument("--host-state", action="store_true", help="TensorRT with its state on the host")
    parser.add_argument("--graph", action="store_true", help="in a CUDA graph")
    parser.add_argument("--pinned", action="store_true", help="copies from and to pinned memory, with --host-state")
    parser.add_argument("--steps", type=int, required=True, help="back to back")
    parser.add_argument("--paced", type=int, help="at the pace of speech (default: a fifth of the steps)")
    parser.add_argument("--out", type=Path, required=True, help="JSON of what was measured")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Measure and write. Raises InputError and CudaError as the backends do, and CudaError for a graph that fell back to none."""
    bundle = read_bundle(args.bundle)
    backend: Backend
    if args.host_state:
        backend = HostStateBackend(args.bundle, bundle, args.precision, cuda_graph=args.graph, pinned=args.pinned)
    else:
        backend = open_backend(args.bundle, bundle, args.backend, args.precision)
    try:
        measured = measure_backend(backend, bundle, args.precision, args.steps, args.paced)
    finally:
        backend.close()
    if args.graph and not measured.cuda_graph:
        raise CudaError("expected the step in a CUDA graph, found that the capture failed; its warning is above")
    measured.write(args.out)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
