"""A toy bundle's backend on the fake GPU, and the same step on the host to compare it with."""

import gc
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.backends import Backend, StepResult
from runtime.backends.batched_tensorrt import BatchedTensorRtBackend
from runtime.backends.tensorrt import TensorRtBackend
from runtime.bundle import Decoding, Graph, read_bundle, write_manifest
from runtime.entries import PROMPT, STATE, RnntEntry, TensorSpec
from runtime.errors import CudaError, InputError
from runtime.files import sha256
from runtime.stamp import plan_path, stamp_path
from tests.runtime import fake_rnnt
from tests.runtime.fake_cuda import FakeCuda
from tests.runtime.fake_driver import FakeDriver
from tests.runtime.fake_gpu import FakeGpu, FakeLibcuda
from tests.runtime.fake_tensorrt import CTC_RESULTS, SIZES, TOLD, WINDOW, Arrays, FakeTensorRt, toy_step


class Host(Backend):
    """The toy step as a backend that keeps its state on the host: what the GPU must equal, bit for bit."""

    name = "host"

    def __init__(self, *, ctc: bool = True, told: bool = False) -> None:
        self._results = ("tokens", "log_probs", "encoded") if ctc else ("encoded",)
        self._kept = (*STATE, PROMPT) if told else STATE

    def new_state(self) -> Arrays:
        return {name: np.zeros(TOLD[name][1], TOLD[name][0]) for name in self._kept}

    def prompted(self, state: Arrays, prompt: int) -> Arrays:
        return state | {PROMPT: np.array([prompt], np.int32)}

    def step(self, window: np.ndarray, valid: int, state: Arrays) -> StepResult:
        of = toy_step({"audio": window[None], "valid": np.array([valid], np.int32), **state})
        following = {name: of[f"next_{name}"] for name in STATE}
        return StepResult(**{name: of[name][0] for name in self._results}, state=state | following)

    def close(self) -> None:
        pass


class PeekingHost(Host):
    """The same, which can peek."""

    can_peek = True

    def peek(self, window: np.ndarray, valid: int, state: Arrays) -> StepResult:
        return replace(self.step(window, valid, state), state=state)


def write_stamp(folder: Path, graph: Graph = "step", **changes: object) -> None:
    plan = plan_path(folder, "fp32", graph)
    stamp = {
        "step_sha256": read_bundle(folder).graph("fp32", graph)[1].sha256,
        "precision": "fp32",
        "plan_sha256": sha256(plan),
        "tensorrt": "10.16.1.11",
        "gpu": "Fake GPU",
        "compute_capability": "9.0",
        "options": {},
        "weights_typed": "strong",
        "build_s": 1.0,
        "created": "2026-01-01",
    }
    stamp_path(plan).write_text(json.dumps(stamp | changes), encoding="utf-8")


def add_transducer(folder: Path, plan: bytes, *, ctc: bool = True) -> None:
    """Make the toy bundle a hybrid's, or without `ctc` a transducer's, with that plan of its evaluation."""
    specs = [{"name": name, "dtype": dtype, "shape": shape} for name, (dtype, shape) in fake_rnnt.SHAPES.items()]
    inputs, outputs = specs[: len(fake_rnnt.INPUTS)], specs[len(fake_rnnt.INPUTS) :]
    file = {"file": "rnnt.fp32.onnx", "sha256": "a" * 64, "parameters": 1, "bytes": 4}
    entry = RnntEntry.model_validate(file | {"inputs": inputs, "outputs": outputs})
    bundle = read_bundle(folder).model_copy(update={"decoders": ["rnnt", "ctc"], "rnnt": {"fp32": entry}})
    if not ctc:
        step = bundle.step("fp32")
        kept = [each for each in step.outputs if each.name not in CTC_RESULTS]
        steps = {"fp32": step.model_copy(update={"outputs": kept})}
        bundle = bundle.model_copy(update={"decoders": ["rnnt"], "steps": steps})
        plan_path(folder, "fp32").write_bytes(b"a plan without a CTC head")
        write_stamp(folder)
    write_manifest(folder, bundle)
    plan_path(folder, "fp32", "rnnt").write_bytes(plan)
    write_stamp(folder, "rnnt")


def add_prompts(folder: Path, prompts: dict[str, int]) -> None:
    """Let the toy bundle's step, and that over many streams, be told the language, and write plans that are."""
    bundle = read_bundle(folder)
    step = bundle.step("fp32")
    told = step.model_copy(update={"inputs": [*step.inputs, TensorSpec(name=PROMPT, dtype="int32", shape=[1])]})
    many = told.model_copy(update={"file": "batched.fp32.onnx", "sha256": "b" * 64})
    changes = {"steps": {"fp32": told}, "batched": {"fp32": many}, "prompts": prompts, "language": next(iter(prompts))}
    write_manifest(folder, bundle.model_copy(update=changes))
    plan_path(folder, "fp32").write_bytes(b"a plan with prompts")
    plan_path(folder, "fp32", "batched").write_bytes(b"a plan of many streams with prompts")
    write_stamp(folder)
    write_stamp(folder, "batched", options={"sizes": ",".join(map(str, SIZES))})


def add_batched(folder: Path, version: str = "10.16.1.11") -> None:
    """Give the toy bundle the step over many streams, and its plan, made by that TensorRT."""
    bundle = read_bundle(folder)
    entry = bundle.step("fp32").model_copy(update={"file": "batched.fp32.onnx", "sha256": "b" * 64})
    write_manifest(folder, bundle.model_copy(update={"batched": {"fp32": entry}}))
    plan_path(folder, "fp32", "batched").write_bytes(b"a plan of many streams")
    write_stamp(folder, "batched", tensorrt=version, options={"sizes": ",".join(map(str, SIZES))})


class Rig:
    """The fake GPU where the backend looks for a real one, and the way to open the backend on it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        self.install()

    def install(self, version: str = "10.16.1.11", shapes: Any = None, **gpu: Any) -> FakeGpu:  # noqa: ANN401
        self.gpu = FakeGpu(**gpu)
        self._monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeCuda(self.gpu))
        self._monkeypatch.setitem(sys.modules, "cuda.bindings.driver", FakeDriver(self.gpu))
        self._monkeypatch.setattr("runtime.cuda._driver", lambda: FakeLibcuda(self.gpu))
        self._monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt(self.gpu, version, shapes))
        return self.gpu

    def open(self, *, cuda_graph: bool = True, decoder: Decoding = "ctc") -> TensorRtBackend:
        return TensorRtBackend(self.folder, read_bundle(self.folder), "fp32", cuda_graph, decoder)

    def open_batched(self, most_streams: int, *, cuda_graph: bool = True) -> BatchedTensorRtBackend:
        return BatchedTensorRtBackend(self.folder, read_bundle(self.folder), "fp32", most_streams, cuda_graph)

    def lanes(self) -> int:
        return Counter(self.gpu.live.values())["stream"]


def assert_every_failure_frees_everything(
    rig: Rig, use: Callable[[], None], printed: Callable[[], str] = str, **gpu: Any
) -> None:
    """Each call that `use` makes fails once: one line names it, raised or else `printed`, and nothing is left on the GPU."""
    rig.install(**gpu)
    use()
    assert rig.gpu.live == {}
    for place, name in enumerate(rig.gpu.calls, 1):
        rig.install(fail_at=place, **gpu)
        try:
            use()
            said = printed()
        except (CudaError, InputError) as error:
            said = f"{error}\n"
        assert said.count("\n") == 1, f"call {place}, {name}, failed: {said!r}"
        assert name in said or "refuses" in said, f"call {place}, {name}, failed: {said!r}"
        if rig.gpu.live:
            gc.collect()  # what the error's traceback held
        assert rig.gpu.live == {}, f"call {place}, {name}, failed"


def windows(steps: int, seed: int = 0) -> list[tuple[np.ndarray, int]]:
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(WINDOW).astype(np.float32), int(rng.integers(1, 1 << 30))) for _ in range(steps)]


def assert_same(found: StepResult, expected: StepResult) -> None:
    for name in ("tokens", "log_probs", "encoded"):
        a, b = getattr(found, name), getattr(expected, name)
        if b is None:
            assert a is None, name
            continue
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.array_equal(a, b), f"{name} differs by up to {np.abs(a - b).max()}"


def assert_follows_host(backend: Backend, steps: int = 7, seed: int = 0) -> None:
    host = Host()
    state, expected_state = backend.new_state(), host.new_state()
    for window, valid in windows(steps, seed):
        found, expected = backend.step(window, valid, state), host.step(window, valid, expected_state)
        assert_same(found, expected)
        state, expected_state = found.state, expected.state
