"""TensorRtBackend on a fake GPU that really computes: ping-pong, pool, graphs, fallback, freeing after any failure, refusals."""

import gc
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from runtime.backends.tensorrt import Lane
from runtime.errors import ClosedError, CudaError, InputError
from runtime.recognizer import Recognizer
from runtime.stamp import plan_path
from tests.engines.test_api import bindings
from tests.runtime import fake_gpu, fake_tensorrt
from tests.runtime.fake_cuda import FakeCuda
from tests.runtime.fake_driver import FakeDriver
from tests.runtime.fake_tensorrt import SHAPES
from tests.runtime.rig import (
    Host,
    Rig,
    assert_every_failure_frees_everything,
    assert_follows_host,
    assert_same,
    windows,
    write_stamp,
)

VERSIONS = ["8.6.0", "10.16.1.11", "11.4.0.106"]
STEP_CALLS = Counter(cudaGraphLaunch=1, cudaEventRecord=1, cudaEventSynchronize=1)
PLAIN_STEP_CALLS = Counter(cudaMemcpyAsync=2, execute_async_v3=1, cudaEventRecord=1, cudaEventSynchronize=1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_equals_the_step_on_the_host(rig: Rig, version: str, cuda_graph: bool) -> None:
    rig.install(version)
    write_stamp(rig.folder, tensorrt=version)
    backend = rig.open(cuda_graph=cuda_graph)
    assert (backend.launches.cuda_graph, backend.launches.kernels_per_step) == (
        (True, 1) if cuda_graph else (False, None)
    )
    assert_follows_host(backend)
    backend.close()
    assert rig.gpu.live == {}


@pytest.mark.parametrize(("cuda_graph", "calls"), [(True, STEP_CALLS), (False, PLAIN_STEP_CALLS)])
def test_what_a_step_and_a_reset_call(rig: Rig, cuda_graph: bool, calls: Counter[str]) -> None:
    backend = rig.open(cuda_graph=cuda_graph)
    state = backend.new_state()
    for window, valid in windows(4):
        rig.gpu.calls.clear()
        backend.step(window, valid, state)
        assert Counter(rig.gpu.calls) == calls
    rig.gpu.calls.clear()
    del state
    backend.new_state()
    assert rig.gpu.calls == ["cudaMemsetAsync"]


@pytest.mark.parametrize("steps_before", [1, 2, 5])
def test_a_state_in_a_used_lane_is_a_fresh_one(rig: Rig, steps_before: int) -> None:
    backend = rig.open()
    for round_ in range(3):
        assert_follows_host(backend, steps_before, seed=round_)
    assert rig.lanes() == 1


def test_states_do_not_cross(rig: Rig) -> None:
    backend, host = rig.open(), Host()
    states: list[Any] = [backend.new_state() for _ in range(3)]
    expected: list[Any] = [host.new_state() for _ in range(3)]
    for turn in [0, 0, 1, 2, 1, 0, 2, 2, 2, 1]:
        window, valid = windows(1, seed=turn)[0]
        found, wanted = backend.step(window, valid, states[turn]), host.step(window, valid, expected[turn])
        assert_same(found, wanted)
        states[turn], expected[turn] = found.state, wanted.state
    assert rig.lanes() == 3
    del found
    states.clear()
    states += [backend.new_state() for _ in range(3)]
    assert rig.lanes() == 3, "lanes of dropped states were not taken again"


def test_results_of_a_state_outlive_the_steps_of_another(rig: Rig) -> None:
    backend = rig.open()
    (first, valid), (second, _) = windows(2)
    state, other = backend.new_state(), backend.new_state()
    result = backend.step(first, valid, state)
    kept = result.encoded.copy()
    backend.step(second, valid, other)
    assert np.array_equal(result.encoded, kept)
    assert not np.array_equal(backend.step(second, valid, state).encoded, kept)
    assert result.state is state


def test_threads(rig: Rig) -> None:
    backend = rig.open()
    failures: list[BaseException] = []

    def follow(seed: int) -> None:
        try:
            for _ in range(5):
                assert_follows_host(backend, 20, seed)
        except BaseException as error:  # noqa: BLE001 -- shown by the main thread
            failures.append(error)

    threads = [threading.Thread(target=follow, args=(seed,)) for seed in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    assert rig.lanes() <= 4


def test_streams_give_the_host_s_events_and_keep_their_lanes(rig: Rig) -> None:
    backend = rig.open()
    audio = np.concatenate([window for window, _ in windows(20)])
    events = []
    for each in (backend, Host()):
        stream = Recognizer(rig.folder, backend=each).stream(early="off")
        events.append([(stream.push(audio), stream.end_utterance()) for _ in range(4)])
        if each is backend:
            # One in use, and at most one while a stream asks for its next state before it drops the last.
            assert rig.lanes() == 1
    assert events[0] == events[1]
    assert events[0][0][1].text


@pytest.mark.parametrize(
    ("environment", "cuda_graph", "captured"),
    [(None, True, True), ("1", True, True), ("0", True, False), (None, False, False), ("1", False, False)],
)
def test_switches_of_the_graph(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, environment: str | None, cuda_graph: bool, captured: bool
) -> None:
    if environment is not None:
        monkeypatch.setenv("CUDA_GRAPH", environment)
    assert rig.open(cuda_graph=cuda_graph).launches.cuda_graph == captured
    assert ("cudaStreamBeginCapture" in rig.gpu.calls) == captured


def use(rig: Rig) -> None:
    """Open the backend, step, make a second lane, step again and close: each call on the way can be made to fail."""
    backend = rig.open()
    try:
        for states in ([backend.new_state()], [backend.new_state(), backend.new_state()]):
            backend.peek(*windows(1)[0], states[-1])
            backend.step(*windows(1)[0], states[-1])
    finally:
        backend.close()


CAPTURE = ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphUpload"]
CAPTURE += ["cudaGraphGetNodes", "cudaGraphNodeGetType", "cudaGraphDestroy"]


@pytest.mark.parametrize("nth", [0, 1, 2])
@pytest.mark.parametrize("name", CAPTURE)
def test_a_failed_capture_is_reported_once_and_falls_back(
    rig: Rig, capsys: pytest.CaptureFixture[str], name: str, nth: int
) -> None:
    backend, states = rig.open(), []
    states += [backend.new_state() for _ in range(3)]
    rig.install(fail_at=[place for place, call in enumerate(rig.gpu.calls, 1) if call == name][nth])
    backend, states = rig.open(), []
    states += [backend.new_state() for _ in range(3)]
    assert_follows_host(backend)
    assert not backend.launches.cuda_graph
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{name}: cudaErrorMemoryAllocation" in error
    backend.close()
    assert rig.gpu.live == {}


def test_an_enqueue_that_cannot_be_captured_falls_back(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.install(capturable=False)
    backend = rig.open()
    backend.new_state(), backend.new_state()
    assert_follows_host(backend)
    assert capsys.readouterr().err.count("warning: no CUDA graph") == 1
    backend.close()
    assert rig.gpu.live == {}


def test_every_failure_frees_everything(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert_every_failure_frees_everything(rig, lambda: use(rig), lambda: capsys.readouterr().err)
    assert len(rig.gpu.calls) > 100


@pytest.mark.parametrize("how", ["close twice", "drop"])
def test_closing(rig: Rig, how: str) -> None:
    backend = rig.open()
    state = backend.new_state()
    backend.step(*windows(1)[0], state)
    assert set(rig.gpu.live.values()) == {"stream", "event", "device", "pinned", "engine", "context", "executable"}
    step = backend.step
    if how == "drop":
        del backend, step
        gc.collect()
        assert rig.gpu.live == {}
        return
    backend.close()
    backend.close()
    assert rig.gpu.live == {}
    with pytest.raises(RuntimeError, match="found a closed one"):
        step(*windows(1)[0], state)
    with pytest.raises(RuntimeError, match="found a closed one"):
        backend.new_state()
    del state
    assert rig.gpu.live == {}


def test_a_lane_that_cannot_be_zeroed_is_not_lost(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = rig.open()
    before = Counter(rig.gpu.live.values())
    with monkeypatch.context() as patch:
        patch.setattr(Lane, "reset", lambda _: (_ for _ in ()).throw(CudaError("cudaMemsetAsync: failed")))
        for _ in range(3):
            with pytest.raises(CudaError):
                backend.new_state()
            gc.collect()
    backend.new_state()
    assert Counter(rig.gpu.live.values()) == before


def test_closing_while_a_stream_opens(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lane is freed too."""
    backend = rig.open()
    pooled = backend.new_state()
    closing = threading.Thread(target=backend.close)
    capture = Lane.capture

    def close_meanwhile(lane: Lane) -> int:
        closing.start()
        closing.join(0.2)
        return capture(lane)

    monkeypatch.setattr(Lane, "capture", close_meanwhile)
    with suppress(ClosedError):
        backend.new_state()
    closing.join()
    assert rig.gpu.live == {}
    with pytest.raises(ClosedError):
        backend.restart(pooled)


@pytest.mark.parametrize(
    ("stamp", "message"),
    [
        ({"step_sha256": "1" * 64}, "111111111111"),
        ({"plan_sha256": "1" * 64}, "truncated or changed"),
        ({"precision": "fp16"}, "found fp16"),
        ({"tensorrt": "8.6.0"}, "for TensorRT 10.16.1.11, found 8.6.0"),
        ({"gpu": "Another GPU"}, "for the GPU Fake GPU, found Another GPU"),
        ({"compute_capability": "7.5"}, "for compute capability 9.0, found 7.5"),
    ],
)
def test_a_stamp_of_something_else_is_refused_before_loading(rig: Rig, stamp: dict[str, str], message: str) -> None:
    write_stamp(rig.folder, "step", **stamp)
    with pytest.raises(InputError) as error:
        rig.open()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert rig.gpu.calls == ["cudaGetDeviceProperties"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": ("float32", [1, 31])}, "with audio ('float32', [1, 30]), found ('float32', [1, 31])"),
        ({"encoded": ("float16", [1, 2, 3])}, "with encoded ('float32', [1, 2, 3]), found ('float16', [1, 2, 3])"),
        ({"next_length": ("int32", [2])}, "with next_length"),
        ({"kv_cache": ("float16", [1, 4, 5, 7])}, "with kv_cache ('float32', [1, 4, 5, 7])"),
        ({"more": ("int32", [1])}, "with more None, found ('int32', [1])"),
    ],
)
def test_a_plan_with_other_tensors_is_refused(rig: Rig, change: dict[str, Any], message: str) -> None:
    gpu = rig.install(shapes=SHAPES | change)
    with pytest.raises(InputError) as error:
        rig.open()
    assert message in str(error.value)
    del error
    gc.collect()
    assert gpu.live == {}


def test_a_plan_that_tensorrt_does_not_load_is_refused(rig: Rig) -> None:
    plan_path(rig.folder, "fp32").write_bytes(b"no plan")
    write_stamp(rig.folder)
    with pytest.raises(InputError, match=r"expected a plan that TensorRT 10\.16\.1\.11 loads"):
        rig.open()


@pytest.mark.parametrize(
    ("module", "message"), [("tensorrt", "expected TensorRT, found"), ("cuda.bindings.runtime", "expected cuda-python")]
)
def test_a_missing_package_is_one_line(rig: Rig, monkeypatch: pytest.MonkeyPatch, module: str, message: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "cuda.cudart", None)
    with pytest.raises(InputError, match=message):
        rig.open()


def test_importing_the_backend_imports_neither_tensorrt_nor_cuda() -> None:
    # What Python itself imports at its start does not count: cuda-python 12.9 is a part of that.
    code = "import sys; before = set(sys.modules); import runtime.backends.tensorrt; "
    code += "print({'tensorrt', 'cuda', 'torch'} & (sys.modules.keys() - before) or 'none')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "none\n"


def names(*fakes: type) -> list[str]:
    """Public names of the fakes, which are all that the backend uses of the real ones: it has run on them above."""
    return sorted({name for fake in fakes for name in dir(fake) if not name.startswith("_")})


@pytest.mark.skipif(not importlib.util.find_spec("cuda"), reason="cuda-python is not installed")
def test_cuda_python_has_what_the_fake_has() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime")
    assert [name for name in names(FakeCuda) if not hasattr(runtime, name)] == []
    enums = [runtime.cudaError_t, runtime.cudaMemcpyKind, runtime.cudaStreamCaptureMode, runtime.cudaGraphNodeType]
    fakes = [fake_gpu.Error, FakeCuda.cudaMemcpyKind, FakeCuda.cudaStreamCaptureMode, FakeCuda.cudaGraphNodeType]
    for real, fake in zip(enums, fakes, strict=True):
        assert {each.name: each.value for each in fake} == {each.name: getattr(real, each.name).value for each in fake}
    for name in ("cudaStreamNonBlocking", "cudaEventDisableTiming", "cudaHostAllocDefault"):
        assert getattr(runtime, name) == getattr(FakeCuda, name)
    driver = pytest.importorskip("cuda.bindings.driver")
    assert [name for name in names(FakeDriver) if not hasattr(driver, name)] == []


@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_tensorrt_s_bindings_have_what_the_fake_has(version: str) -> None:
    wanted = {
        "ICudaEngine": names(fake_tensorrt.FakeEngine10),
        "IExecutionContext": names(fake_tensorrt.FakeContext10),
        "Runtime": ["deserialize_cuda_engine"],
        "Logger": ["ERROR"],
        "ExecutionContextAllocationStrategy": ["USER_MANAGED"],
        "DataType": ["FLOAT", "HALF", "INT32"],
    }
    code = (
        "import json, sys, tensorrt as trt\n"
        "missing = [f'{c}.{n}' for c, ns in json.loads(sys.argv[1]).items() for n in ns if not hasattr(getattr(trt, c), n)]\n"
        "documented = 'strategy: ' in trt.ICudaEngine.create_execution_context.__doc__\n"
        "documented &= 'size: ' in trt.IExecutionContext.set_device_memory.__doc__\n"
        "print(json.dumps([trt.__version__, missing, documented, trt.DataType.HALF.name]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(bindings(version))}
    ran = subprocess.run(
        [sys.executable, "-c", code, json.dumps(wanted)], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [version, [], True, "HALF"]
