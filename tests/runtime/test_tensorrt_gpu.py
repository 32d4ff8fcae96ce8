"""TensorRtBackend on a real GPU, on every bundle in build/bundles that has a plan: against onnxruntime, and bit for bit against itself.

A GPU host without NeMo runs it with `python -m pytest --noconftest -s tests/runtime/test_tensorrt_gpu.py`.
"""

import ctypes
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.stopwatch import TimedBackend
from runtime.audio import load_audio
from runtime.backends import ALL_VALID, StepResult, default_backend
from runtime.backends.onnxruntime import OnnxRuntimeBackend, RnntSession
from runtime.backends.tensorrt import TensorRtBackend, TensorRtState
from runtime.bundle import Bundle, Decoding, read_bundle
from runtime.cuda import Device, Queue
from runtime.decoders.greedy import GreedyRnnt
from runtime.entries import STATE
from runtime.stamp import plan_path
from tests.runtime.decoders.plain import PLAIN
from tests.runtime.peeking import assert_peeks_change_nothing

TOLERANCE = 1e-3
STEPS = 1000
COMPARED_STATES = (1, 10, 100, 1000)
BUNDLES = sorted(Path("build/bundles").glob("*/"))

Bits = dict[str, bytes]


pytestmark = [
    pytest.mark.skipif(default_backend() != "tensorrt", reason="no NVIDIA GPU answers nvidia-smi on this machine"),
    pytest.mark.skipif(
        find_spec("tensorrt") is None, reason="`make test` runs it in the GPU's environment, which has TensorRT"
    ),
    pytest.mark.skipif(not BUNDLES, reason="no bundle in build/bundles: run `make export`"),
]
on_every_bundle = pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
in_every_precision = pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])


def opened(folder: Path, precision: str, *, cuda_graph: bool = True, decoder: Decoding = "ctc") -> TensorRtBackend:
    bundle = read_bundle(folder)
    if decoder not in bundle.decoders:
        pytest.skip(f"{folder.name} has {', '.join(bundle.decoders)} alone")
    plans = [plan_path(folder, precision)]
    if decoder == "rnnt":
        plans.append(plan_path(folder, "fp32" if precision == "fp32" else "fp16", "rnnt"))
    if not all(plan.is_file() for plan in plans):
        pytest.skip(f"no {precision} plan of {folder.name} there: run `make engines PRECISION={precision}`")
    return TensorRtBackend(folder, bundle, precision, cuda_graph, decoder)


def windows(bundle: Bundle, steps: int) -> list[tuple[np.ndarray, int]]:
    """The sample's speech, repeated, as a stream cuts it; the last window's audio ends within its chunk."""
    speech = np.concatenate(
        [load_audio(each, bundle.sample_rate) for each in sorted(Path("data/sample").rglob("*.mp3"))]
    )
    starts = [step * bundle.chunk_samples for step in range(steps)]
    audio = np.resize(speech, starts[-1] + bundle.window_samples)
    cut = [(audio[start : start + bundle.window_samples], ALL_VALID) for start in starts]
    return [*cut[:-1], (cut[-1][0], 8)]


def state_of(backend: TensorRtBackend, state: TensorRtState) -> dict[str, np.ndarray]:
    """The state that the next step reads, copied from the device."""
    lane, engine = state.lane, backend._engine
    arrays = {}
    with Queue(backend.device) as queue:
        for name, offset in engine.sets[lane._direction].offsets.items():
            spec = engine.tensors[name]
            host = queue.pinned(spec.zeros().nbytes)
            queue.download(host, lane._base + offset)
            queue.wait()
            arrays[name] = host.view(spec.dtype).reshape(spec.shape).copy()
    return arrays


def bits(backend: TensorRtBackend, state: TensorRtState, cut: list[tuple[np.ndarray, int]]) -> list[Bits]:
    """Every result of a run, and the state after it."""
    run = []
    for window, valid in cut:
        result = backend.step(window, valid, state)
        run.append({name: getattr(result, name).tobytes() for name in ("tokens", "log_probs", "encoded")})
    return [*run, {name: array.tobytes() for name, array in state_of(backend, state).items()}]


@on_every_bundle
def test_fp32_equals_onnxruntime(folder: Path) -> None:
    backend = opened(folder, "fp32")
    bundle = read_bundle(folder)
    reference = OnnxRuntimeBackend(folder, bundle, "fp32", "onnxruntime-cpu")
    state, expected_state = backend.new_state(), reference.new_state()
    largest = {"encoded": 0.0, "log_probs": 0.0} | dict.fromkeys(STATE, 0.0)
    flipped = 0
    for step, (window, valid) in enumerate(windows(bundle, STEPS), 1):
        found, expected = backend.step(window, valid, state), reference.step(window, valid, expected_state)
        expected_state = expected.state
        differences: dict[str, Any] = {
            name: getattr(found, name) - getattr(expected, name)
            for name in bundle.step("fp32").results
            if name != "tokens"
        }
        if step in COMPARED_STATES:
            on_device = state_of(backend, state)
            differences |= {name: on_device[name] - expected_state[name] for name in STATE}
        for name, difference in differences.items():
            largest[name] = max(largest[name], float(np.abs(difference).max()))  # NaN fails below: it stays out of max
            assert np.isfinite(difference).all(), f"{name} at step {step}"
        if expected.log_probs is None:
            continue
        best_two = np.sort(expected.log_probs, -1)[:, -2:]
        tie = best_two[:, 1] - best_two[:, 0] < 2 * TOLERANCE
        differs = np.asarray(found.tokens != expected.tokens)
        flipped += int(differs.sum())
        # Random weights, unlike trained ones, leave frames whose two best tokens are equal within the tolerance.
        assert not (differs & ~tie).any() if bundle.checkpoint.weights == "random" else not differs.any(), (
            f"step {step}"
        )
    print(f"\n{folder.name}: largest differences over {STEPS} steps {largest}, {flipped} tokens flipped")
    backend.close()
    assert max(largest[name] for name in ("encoded", *STATE)) < TOLERANCE, largest


@on_every_bundle
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_fp32_rnnt_equals_onnxruntime(folder: Path, cuda_graph: bool) -> None:
    """Tokens by the evaluations on the GPU, and by those on the CPU over the frames that the GPU computed."""
    backend, bundle = opened(folder, "fp32", cuda_graph=cuda_graph, decoder="rnnt"), read_bundle(folder)
    reference = RnntSession(folder, bundle, "fp32", "onnxruntime-cpu")
    state, decoding = backend.new_state(), reference.new_state()
    found, expected = (GreedyRnnt(bundle.vocabulary, bundle.blank, PLAIN) for _ in range(2))
    differences = []
    for window, valid in windows(bundle, 200):
        result = backend.step(window, valid, state)
        decoded, decoding = reference.decode(result.encoded, decoding)
        assert result.symbols is not None
        assert result.symbol_log_probs is not None
        found.push(result, bundle.chunk_frames)
        expected.push(StepResult(**decoded, encoded=result.encoded, state=None), bundle.chunk_frames)
        differences.append(float(np.abs(result.symbol_log_probs - decoded["symbol_log_probs"]).max()))
    print(
        f"\n{folder.name}: {len(found.tokens)} tokens, log-probabilities differ by up to {max(differences):.1e}, "
        f"{backend.launches.further_turns} further turns in 200 steps"
    )
    backend.close()
    assert found.tokens == expected.tokens
    assert max(differences) < TOLERANCE


@on_every_bundle
@in_every_precision
def test_graph_equals_no_graph(folder: Path, precision: str) -> None:
    cut = windows(read_bundle(folder), 200)
    runs = []
    for cuda_graph in (True, False):
        backend = opened(folder, precision, cuda_graph=cuda_graph)
        assert backend.launches.cuda_graph == cuda_graph
        runs.append(bits(backend, backend.new_state(), cut))
        backend.close()
    assert runs[0] == runs[1]


@on_every_bundle
@in_every_precision
def test_a_reset_state_equals_a_fresh_one(folder: Path, precision: str) -> None:
    backend = opened(folder, precision)
    cut = windows(read_bundle(folder), 100)
    used = backend.new_state()
    fresh = bits(backend, backend.new_state(), cut)  # in a lane that never ran but on silence
    for odd_or_even in (50, 51):
        bits(backend, used, cut[:odd_or_even])
        lane = used.lane
        del used
        used = backend.new_state()
        assert used.lane is lane
        assert bits(backend, used, cut) == fresh
    backend.close()


@on_every_bundle
@in_every_precision
@pytest.mark.parametrize("decoder", ["ctc", "rnnt"])
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_peeks_change_nothing(folder: Path, precision: str, decoder: Decoding, cuda_graph: bool) -> None:
    backend = opened(folder, precision, cuda_graph=cuda_graph, decoder=decoder)
    steps = windows(read_bundle(folder), 24)
    others = [(steps[5][0], 3), (steps[9][0], 12), (0.5 * steps[9][0], ALL_VALID)]
    for seed in range(2):
        assert_peeks_change_nothing(backend, steps, others, seed)
    backend.close()


@on_every_bundle
@pytest.mark.parametrize("decoder", ["ctc", "rnnt"])
def test_what_a_peek_costs(folder: Path, decoder: Decoding) -> None:
    """Beside a step of the same window; printed, as no bound holds on every GPU."""
    backend = TimedBackend(opened(folder, "fp16", decoder=decoder))
    state = backend.new_state()
    for window, valid in windows(read_bundle(folder), 300):
        backend.peek(window, valid, state)
        backend.step(window, valid, state)
    step_ms, peek_ms = (1e3 * float(np.median(each[100:])) for each in (backend.step_s, backend.peek_s))
    print(f"\n{folder.name} {decoder}: a step {step_ms:.3f} ms, a peek {peek_ms:.3f} ms, medians of 200")
    backend.close()


@on_every_bundle
@in_every_precision
def test_streams_in_threads_do_not_cross(folder: Path, precision: str) -> None:
    backend = opened(folder, precision)
    whole = windows(read_bundle(folder), 160)
    cuts = [whole[start : start + 100] for start in (0, 20, 40, 60)]
    alone = [bits(backend, backend.new_state(), cut) for cut in cuts]
    together: list[list[Bits]] = [[] for _ in cuts]

    def run(place: int) -> None:
        together[place] = bits(backend, backend.new_state(), cuts[place])

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(cuts))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    backend.close()
    assert together == alone


def test_the_driver_knows_the_runtime_s_events() -> None:
    """Otherwise a step still waits, but in a call that with cuda-python before 12.9.1 stops all other threads."""
    device = Device()
    with Queue(device) as queue:
        queue.clear(queue.allocate(1 << 20), 1 << 20)
        for asleep, event in ((False, queue._spun), (True, queue._slept)):
            queue.wait(asleep=asleep)
            assert device._driver.cuEventSynchronize(ctypes.c_void_p(int(event))) == 0


@on_every_bundle
@in_every_precision
def test_closing_gives_the_memory_back(folder: Path, precision: str) -> None:
    free = []
    for _ in range(4):
        backend = opened(folder, precision)
        states = [backend.new_state() for _ in range(3)]
        backend.close()
        del states
        free.append(Device().memory()[0])
    kept = free[0] - free[-1]  # the first opening also loads CUDA's modules, which stay
    print(f"\n{folder.name} {precision}: {kept / 2**20:.1f} MiB kept by three more openings")
    assert kept < plan_path(folder, precision).stat().st_size
