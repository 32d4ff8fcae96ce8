"""Backends that step many streams at once, on the fake GPU: each stream is as if it ran alone, whatever runs with it."""

import gc
import hashlib
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from ctypes import alignment, sizeof
from pathlib import Path
from typing import Any

import pytest

from runtime.backends import Step, open_backend
from runtime.backends.batches import Batch
from runtime.backends.rows import PTX, Copy
from runtime.bundle import read_bundle, write_manifest
from runtime.cuda import Graph
from runtime.errors import ClosedError, CudaError, FullError, InputError
from runtime.stamp import plan_path
from tests.own_process import forked
from tests.runtime.fake_tensorrt import SIZES
from tests.runtime.peeking import assert_peeks_change_nothing
from tests.runtime.rig import (
    Host,
    PeekingHost,
    Rig,
    add_batched,
    add_transducer,
    assert_every_failure_frees_everything,
    assert_follows_host,
    assert_same,
    windows,
)
from tests.runtime.together import follow

VERSIONS = ["8.6.0", "10.16.1.11"]
WINDOWS = [window for window, _ in windows(50)]


@pytest.fixture
def many(rig: Rig) -> Rig:
    """The toy bundle with the step over many streams and its plan."""
    add_batched(rig.folder)
    return rig


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cuda_graph", [True, False])
@pytest.mark.parametrize("most_streams", [1, 3, SIZES[-1], 2 * SIZES[-1] + 1])
def test_every_stream_equals_the_step_on_the_host(many: Rig, version: str, cuda_graph: bool, most_streams: int) -> None:
    many.install(version)
    add_batched(many.folder, version)
    backend = many.open_batched(most_streams, cuda_graph=cuda_graph)
    assert (backend.name, backend.can_peek, backend.most_streams) == ("tensorrt", True, most_streams)
    launches = backend.launches
    assert (launches.cuda_graph, launches.kernels_per_step) == ((True, 3) if cuda_graph else (False, None))
    happened = follow(backend, PeekingHost(), WINDOWS, assert_same, streams=most_streams, runs=60)
    print(most_streams, dict(sorted(happened.items())))
    assert min(happened[what] for what in ("begun", "ended", "peeks", "steps")) >= 5
    assert happened.keys() >= {f"runs of {number}" for number in (1, most_streams)}
    backend.close()
    assert many.gpu.live == {}


@pytest.mark.parametrize(
    ("steps", "launched"), [(1, [1]), (2, [4]), (4, [4]), (5, [6]), (6, [6]), (7, [6, 1]), (13, [6, 6, 1]), (0, [])]
)
def test_sizes(many: Rig, monkeypatch: pytest.MonkeyPatch, steps: int, launched: list[int]) -> None:
    backend = many.open_batched(20)
    assert list(backend._batches.of_size) == [1, 4, 6]
    states = [backend.new_state() for _ in range(steps)]
    ran: list[int] = []
    launch = Batch.launch

    def noted(batch: Batch, graph: Graph) -> None:
        ran.append(batch.size)
        launch(batch, graph)

    monkeypatch.setattr(Batch, "launch", noted)
    many.gpu.calls.clear()
    many.gpu.waits.clear()
    backend.run([Step(*windows(1)[0], state) for state in states])
    assert ran == launched
    assert many.gpu.waits == ["spinning" if size == 1 else "asleep" for size in launched]
    each = {"cudaGraphLaunch", "cudaEventRecord", "cudaEventSynchronize"}
    assert Counter(many.gpu.calls) == Counter(dict.fromkeys(each, len(launched)) if launched else {})


def test_results_of_one_run_do_not_share_memory(many: Rig) -> None:
    """Those of a run in several batches too; and those of a step outlive any run."""
    backend, host = many.open_batched(13), Host()
    cut = windows(13)
    found = backend.run([Step(*each, backend.new_state()) for each in cut])
    for (window, valid), result in zip(cut, found, strict=True):
        assert_same(result, host.step(window, valid, host.new_state()))
    del found, result
    kept = backend.step(*cut[0], backend.new_state())
    peeked = backend.peek(*cut[0], backend.new_state())
    backend.run([Step(*each, backend.new_state()) for each in cut[1:4]])
    for result in (kept, peeked):
        assert_same(result, host.step(*cut[0], host.new_state()))


def test_no_slot_is_left(many: Rig) -> None:
    backend = many.open_batched(3)
    states = [backend.new_state() for _ in range(3)]
    for _ in range(2):
        with pytest.raises(FullError) as raised:
            backend.new_state()
        assert str(raised.value) == (
            "expected at most 3 streams at once, found 3 open; close one, or open the recogniser with more"
        )
    backend.run([Step(*each, state) for each, state in zip(windows(3), states, strict=True)])
    del states[1]
    assert_follows_host(backend)  # in its slot
    with pytest.raises(FullError):
        states += [backend.new_state() for _ in range(2)]


def test_peeks_change_nothing(many: Rig) -> None:
    assert_peeks_change_nothing(many.open_batched(12), windows(8), windows(3, seed=9))


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_threads(many: Rig, cuda_graph: bool) -> None:
    """Steps that several threads ask for, beside one that runs many; another thread closes it."""
    backend = many.open_batched(8, cuda_graph=cuda_graph)
    failures: list[BaseException] = []

    def attempt(seed: int) -> None:
        try:
            for _ in range(4):
                if seed:
                    assert_follows_host(backend, 15, seed)
                else:
                    follow(backend, PeekingHost(), WINDOWS, lambda *_: None, streams=4, runs=10)
        except BaseException as error:  # noqa: BLE001 -- shown by the main thread
            failures.append(error)

    threads = [threading.Thread(target=attempt, args=(seed,)) for seed in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    closing = threading.Thread(target=backend.close)
    closing.start()
    closing.join()
    assert many.gpu.live == {}


@pytest.mark.parametrize("name", ["cudaStreamBeginCapture", "cudaGraphInstantiate", "cudaGraphDestroy"])
@pytest.mark.parametrize("nth", [0, 1, 2])
def test_a_failed_capture_is_reported_once_and_falls_back(
    many: Rig, capsys: pytest.CaptureFixture[str], name: str, nth: int
) -> None:
    many.open_batched(6)
    many.install(fail_at=[place for place, call in enumerate(many.gpu.calls, 1) if call == name][nth])
    backend = many.open_batched(6)
    follow(backend, PeekingHost(), WINDOWS, assert_same, streams=6, runs=10)
    assert (backend.launches.cuda_graph, backend.launches.kernels_per_step) == (False, None)
    assert "cudaGraphLaunch" not in many.gpu.calls
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"warning: no CUDA graph, each kernel is launched on its own, which is slower: {name}" in error
    backend.close()
    assert many.gpu.live == {}


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_every_failure_frees_everything(many: Rig, capsys: pytest.CaptureFixture[str], cuda_graph: bool) -> None:
    def use() -> None:
        backend = many.open_batched(5, cuda_graph=cuda_graph)
        try:
            states = [backend.new_state() for _ in range(3)]
            backend.run([Step(*windows(1)[0], state) for state in states])
            backend.peek(*windows(1)[0], states[0])
        finally:
            backend.close()

    assert_every_failure_frees_everything(many, use, lambda: capsys.readouterr().err)
    assert {"cuModuleLoadData", "cuModuleGetFunction", "cuLaunchKernel", "cuModuleUnload"} <= {*many.gpu.calls}


@pytest.mark.parametrize("how", ["close twice", "drop"])
def test_closing(many: Rig, how: str) -> None:
    backend = many.open_batched(4)
    state = backend.new_state()
    backend.step(*windows(1)[0], state)
    kinds = {"stream", "event", "device", "pinned", "engine", "context", "executable", "module"}
    assert set(many.gpu.live.values()) == kinds
    step = backend.step
    if how == "drop":
        del backend, step
        gc.collect()
        assert many.gpu.live == {}
        return
    backend.close()
    backend.close()
    assert many.gpu.live == {}
    for use in (backend.new_state, lambda: step(*windows(1)[0], state)):
        with pytest.raises(ClosedError, match="found a closed one"):
            use()


def test_a_fork_frees_nothing(many: Rig) -> None:
    backend = many.open_batched(4)
    held = dict(many.gpu.live)

    def close() -> int:
        backend.close()
        return 0 if many.gpu.live == held else 1

    assert forked(close, sys.__stderr__.fileno()) == 0  # type: ignore[union-attr]
    assert_follows_host(backend)
    backend.close()
    assert many.gpu.live == {}


@pytest.mark.parametrize("environment", ["0", "1"])
def test_the_switch_of_the_graph(many: Rig, monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    monkeypatch.setenv("CUDA_GRAPH", environment)
    assert many.open_batched(4).launches.cuda_graph == (environment == "1")
    assert ("cudaStreamBeginCapture" in many.gpu.calls) == (environment == "1")


def without_plan(folder: Path) -> None:
    plan_path(folder, "fp32", "batched").unlink()


def without_graph(folder: Path) -> None:
    write_manifest(folder, read_bundle(folder).model_copy(update={"batched": None}))


REFUSED = [
    (without_graph, {}, "found none; make the bundle again with `make export BATCH=1`"),
    (lambda folder: add_transducer(folder, b"an evaluation"), {"decoder": "rnnt"}, "expected ctc for .*, found rnnt"),
    (None, {"precision": "int8"}, "expected fp32 or fp16 for .*, found int8"),
    (None, {"precision": "fp16"}, "expected a precision of the bundle"),
    *(
        (None, {"most_streams": number}, f"expected max_streams as a whole number from 1 to 65536, found {number!r}")
        for number in (0, -1, 1.5, True, "8", 65_537, 10**9)
    ),
]


@pytest.mark.parametrize(
    ("name", "broken", "asked", "message"),
    [
        *(("tensorrt", *each) for each in REFUSED),
        ("tensorrt", without_plan, {}, "found none; make it with `make engines PRECISION=fp32 BATCH=1`"),
        *(("onnxruntime-cpu", *each) for each in REFUSED),
        ("tensorflow", None, {}, "expected a backend out of tensorrt, .*, found tensorflow"),
    ],
)
def test_what_is_refused(
    many: Rig, name: str, broken: Callable[[Path], None] | None, asked: dict[str, Any], message: str
) -> None:
    if broken:
        broken(many.folder)
    asked = {"precision": "fp32", "most_streams": 4, **asked}
    with pytest.raises(InputError, match=message) as raised:
        open_backend(many.folder, read_bundle(many.folder), name, **asked)
    assert "\n" not in str(raised.value)
    gc.collect()
    assert many.gpu.live == {}


@pytest.mark.parametrize(("most_streams", "batched"), [(None, False), (4, True)])
def test_which_backend_is_opened(many: Rig, most_streams: int | None, batched: bool) -> None:
    backend = open_backend(many.folder, read_bundle(many.folder), "tensorrt", "fp32", most_streams=most_streams)
    assert backend.most_streams == most_streams
    assert hasattr(backend, "_batches") == batched


def test_a_tensor_that_tensorrt_refuses(many: Rig) -> None:
    many.install(refused=frozenset({"next_kv_cache"}))
    with pytest.raises(CudaError, match="set_tensor_address: TensorRT refused next_kv_cache"):
        many.open_batched(4)
    gc.collect()
    assert many.gpu.live == {}


def test_the_kernels_are_those_that_the_host_launches() -> None:
    """The PTX is made of rows.cu as it is now, for a T4 and later, and takes what is passed."""
    ptx, source = PTX.read_text(encoding="ascii"), PTX.with_suffix(".cu").read_bytes()
    assert hashlib.sha256(source).hexdigest() in ptx.splitlines()[0], "make rows.ptx again, see rows.cu"
    assert re.findall(r"^\.(?:version|target|address_size) .*$", ptx, re.MULTILINE) == [
        ".version 8.1",
        ".target sm_75",
        ".address_size 64",
    ]
    entries = re.findall(r"^\.visible \.entry (\w+)\(([^)]*)\)", ptx, re.MULTILINE)
    parameter = f".param .align {alignment(Copy)} .b8 NAME_param_0[{sizeof(Copy)}]"
    assert {name: parameters.strip() for name, parameters in entries} == {
        name: parameter.replace("NAME", name) for name in ("gather", "scatter")
    }
    assert len(entries) == 2
