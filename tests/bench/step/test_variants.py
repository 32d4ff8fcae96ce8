"""The ladder's TensorRT variants and `bench steps` on the fake GPU: the runtime's results bit for bit, calls, freeing after failures."""

import ctypes
import io
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from rich.console import Console

from bench.results import ResultFile, read_result
from bench.rows import StepRow
from bench.step import timing, worker
from bench.step.host_state import HostStateBackend
from bench.step.ladder import VARIANTS
from bench.step.step_times import Options, run
from bench.step.timing import StepMeasurement, Variant
from runtime.backends import Backend
from runtime.backends.engine import Region
from runtime.bundle import read_bundle
from runtime.entries import STATE
from runtime.errors import exit_code
from tests.runtime.fake_tensorrt import SHAPES
from tests.runtime.rig import (
    Host,
    Rig,
    add_transducer,
    assert_every_failure_frees_everything,
    assert_same,
    windows,
    write_stamp,
)

SWITCHES = [(False, False), (False, True), (True, False), (True, True)]
switched = pytest.mark.parametrize(("cuda_graph", "pinned"), SWITCHES)


def opened(rig: Rig, *, cuda_graph: bool, pinned: bool) -> HostStateBackend:
    return HostStateBackend(rig.folder, read_bundle(rig.folder), "fp32", cuda_graph=cuda_graph, pinned=pinned)


def tensors(region: Region, base: int) -> dict[str, np.ndarray]:
    """The state in a region, copied from memory of the fake GPU or the host."""
    found = {}
    for name, address in region.addresses(base - region.start).items():
        dtype, shape = SHAPES[name]
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        found[name] = np.frombuffer(ctypes.string_at(address, size), dtype).reshape(shape)
    return found


@switched
@pytest.mark.parametrize("version", ["8.6.0", "10.16.1.11"])
def test_equals_the_runtime_and_the_step_on_the_host(rig: Rig, version: str, cuda_graph: bool, pinned: bool) -> None:
    rig.install(version, pageable=True)
    write_stamp(rig.folder, tensorrt=version)
    backend, runtime, host = opened(rig, cuda_graph=cuda_graph, pinned=pinned), rig.open(), Host()
    assert (backend.launches.cuda_graph, backend.launches.kernels_per_step) == (cuda_graph, 1 if cuda_graph else None)
    backends: tuple[Backend, ...] = (backend, runtime, host)
    for utterance in range(2):
        states: list[Any] = [each.new_state() for each in backends]
        for window, valid in windows(7, utterance):
            found, product, expected = (
                each.step(window, valid, state) for each, state in zip(backends, states, strict=True)
            )
            assert_same(found, product)
            assert_same(found, expected)
            states = [found.state, product.state, expected.state]
            lane = product.state.lane
            of_runtime = runtime._engine.sets[lane._direction]
            in_variant = tensors(backend._reads, states[0].ctypes.data)
            in_runtime = tensors(of_runtime, lane._base + of_runtime.start)
            for name in STATE:
                assert np.array_equal(in_variant[name], in_runtime[name]), name
                assert np.array_equal(in_variant[name], expected.state[name]), name
        del found, product, lane, states
    backend.close()
    backend.close()
    runtime.close()
    assert rig.gpu.live == {}


CALLS = {
    (False, False): Counter(cudaMemcpyAsync=4, execute_async_v3=1),
    (False, True): Counter(cudaMemcpyAsync=4, execute_async_v3=1),
    (True, False): Counter(cudaMemcpyAsync=4, cudaGraphLaunch=1),
    (True, True): Counter(cudaGraphLaunch=1),
}


@switched
def test_what_a_step_calls(rig: Rig, cuda_graph: bool, pinned: bool) -> None:
    rig.install(pageable=not pinned)  # where it is pinned, the fake refuses what is not
    backend = opened(rig, cuda_graph=cuda_graph, pinned=pinned)
    state = backend.new_state()
    for window, valid in windows(3):
        rig.gpu.calls.clear()
        state = backend.step(window, valid, state).state
        waited = Counter(cudaEventRecord=1, cudaEventSynchronize=1)
        assert Counter(rig.gpu.calls) == CALLS[cuda_graph, pinned] + waited
    assert ("pinned" in rig.gpu.live.values()) == pinned
    backend.close()


@switched
def test_every_failure_frees_everything(rig: Rig, cuda_graph: bool, pinned: bool) -> None:
    def use() -> None:
        backend = opened(rig, cuda_graph=cuda_graph, pinned=pinned)
        try:
            backend.step(*windows(1)[0], backend.new_state())
        finally:
            backend.close()

    assert_every_failure_frees_everything(rig, use, pageable=True)


ON_TENSORRT = [each for each in VARIANTS if each.backend == "tensorrt" and each.precision == "fp16"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU copies gigabytes here, and a warm-up warms nothing."""
    monkeypatch.setattr(worker, "gpu_bandwidth", lambda _: 2e12)
    monkeypatch.setattr(timing, "WARM_UP", 1)


def told(rig: Rig, variant: Variant) -> Variant:
    """What the process of a variant reads, sent as JSON and back."""
    sent = json.dumps(asdict(replace(variant, bundle=str(rig.folder), precision="fp32", steps=10)))
    return Variant(**json.loads(sent))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("each", ON_TENSORRT, ids=lambda each: each.label)
def test_a_variant_in_its_process(
    rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, each: Variant
) -> None:
    rig.install(pageable=each.host_state and not each.pinned)
    monkeypatch.setenv("CUDA_GRAPH", "1" if each.graph else "0")
    worker.run(told(rig, each))
    measured = TypeAdapter(StepMeasurement).validate_json(capsys.readouterr().out.splitlines()[-1])
    assert rig.gpu.calls.count("create_execution_context") == (1 if each.host_state else 2)
    assert ("cudaHostAlloc" in rig.gpu.calls) == (each.pinned or not each.host_state)
    assert measured.cuda_graph == each.graph
    assert measured.launches_per_step == (1 if each.graph else None)
    assert (measured.engine, measured.weights_bytes, measured.copy_bandwidth) == ("tensorrt 10.16.1.11", 4, 2e12)
    assert (len(measured.fast.seconds), len(measured.realtime.seconds)) == (10, 2)
    assert measured.first_result_s > 0
    assert rig.gpu.live == {}


def test_the_packages_that_another_python_needs_for_a_variant() -> None:
    name = "{name.partition('.')[0] for name, module in sys.modules.items() if 'site-packages' in str(module)}"
    code = f"import sys; before = {name}; import bench.step.worker; print(*{name} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pydantic = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
    assert set(done.stdout.split()) == {"numpy", *pydantic}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("each", [each for each in ON_TENSORRT if each.graph], ids=lambda each: each.label)
def test_a_graph_that_fails_is_no_figure(rig: Rig, capsys: pytest.CaptureFixture[str], each: Variant) -> None:
    rig.install(pageable=True, capturable=False)
    assert exit_code(lambda: worker.run(told(rig, each))) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("error: ")
    assert not said.out
    assert rig.gpu.live == {}


def measured(options: Options) -> tuple[Path, list[StepRow]]:
    """The file that `bench steps` wrote, and its rows as they are read."""
    written = run(options, ["steps"], Console(file=io.StringIO()))
    result = read_result(written.path)
    assert written.result == result
    assert isinstance(result, ResultFile)
    assert {"step_ms", "floor_ms", "step_ms_percentiles"} <= result.definitions.keys()
    return written.path, result.rows_of(StepRow)


@pytest.mark.usefixtures("quick")
def test_bench_steps_with_the_evaluations_of_rnnt(rig: Rig, tmp_path: Path) -> None:
    add_transducer(rig.folder, b"an eager evaluation")
    options = Options(bundle=rig.folder, precision="fp32", decoder="rnnt", steps=100, out=tmp_path)
    path, rows = measured(options)
    assert path.name == "toy-0ms-fp32-tensorrt-rnnt-steps.json"
    for row in rows:
        assert row.decoder == "rnnt"
        assert row.launches_per_step == 1 + 4  # the step and its evaluations
        assert row.further_turns_per_step
    assert rig.gpu.live == {}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("graph", "name"), [(True, "steps"), (False, "nograph-steps")])
def test_bench_steps(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: bool, name: str) -> None:
    monkeypatch.setenv("CUDA_GRAPH", "1" if graph else "0")
    path, (fast, paced) = measured(Options(bundle=rig.folder, precision="fp32", steps=100, out=tmp_path))
    assert path.name == f"toy-0ms-fp32-tensorrt-{name}.json"
    assert [(row.pace, row.steps, row.cuda_graph, row.rung) for row in (fast, paced)] == [
        ("fast", 100, graph, None),
        ("realtime", 20, graph, None),
    ]
    assert (fast.mode, fast.functional_check, fast.build_s, fast.copy_gb_s) == ("steps", False, 1.0, 2000)
    assert fast.step_ms_p50
    assert fast.rtf_p50 == pytest.approx(fast.step_ms_p50 / 20, abs=1e-4)
    assert fast.launches_per_step == (1 if graph else None)
    assert rig.gpu.live == {}


def test_the_gpu_s_clock_and_power_are_sampled_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "WARM_UP", 1)
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\nwhile :; do echo '1980, 70.5'; echo '[N/A], 80.0'; sleep 0.01; done\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    times = timing.timed(lambda _: time.sleep(0.01), 50, 0.0)
    assert (len(times.seconds), times.sm_clock_mhz, times.power_draw_w) == (50, 1980.0, 70.5)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    times = timing.timed(lambda _: None, 2, 0.0)
    assert (times.sm_clock_mhz, times.power_draw_w) == (None, None)
