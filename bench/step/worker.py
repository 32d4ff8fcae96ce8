"""A backend's steps, measured: in a process of the ladder or the ablation, or in that of `bench steps`.

Lean imports: a process's start-up is a figure.
"""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import json
import sys
from contextlib import closing
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

from bench.step.host_state import HostStateBackend
from bench.step.timing import COPY_BYTES, StepMeasurement, Variant, copy_bandwidth, time_steps
from runtime.backends import ALL_VALID, Backend, open_backend
from runtime.bundle import Bundle, read_bundle
from runtime.cuda import Device, Queue
from runtime.errors import CudaError, exit_code

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

    timed = time_steps(step, steps, bundle.chunk_samples / bundle.sample_rate, paced)
    turns = backend.launches.further_turns
    engine = backend.name.partition("-")[0]
    return StepMeasurement(
        **timed,
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
        return copy_bandwidth(partial(queue.copy, target, source, COPY_BYTES), queue.wait)


def run(variant: Variant) -> None:
    """Measure and print it. Raises InputError and CudaError as the backends do, and CudaError for a graph that fell back to none."""
    folder, bundle, precision = Path(variant.bundle), read_bundle(Path(variant.bundle)), variant.precision
    backend: Backend
    if variant.host_state:
        backend = HostStateBackend(folder, bundle, precision, cuda_graph=variant.graph, pinned=variant.pinned)
    else:
        backend = open_backend(folder, bundle, variant.backend, precision)
    with closing(backend):
        measured = measure_backend(backend, bundle, precision, variant.steps, variant.paced)
    if variant.graph and not measured.cuda_graph:
        raise CudaError("expected the step in a CUDA graph, found that the capture failed; its warning is above")
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(Variant(**json.loads(sys.argv[1])))))
