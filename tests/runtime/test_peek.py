"""Peeks on every backend that has them: what they give, and that they change nothing."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bench.stopwatch import TimedBackend
from runtime.backends import ALL_VALID, Wrapped
from runtime.backends.onnxruntime import OnnxRuntimeBackend
from runtime.bundle import Bundle, Decoding, read_bundle
from runtime.errors import InputError
from tests.runtime.peeking import Step, assert_peeks_change_nothing, stepped
from tests.runtime.rig import Host, Rig, add_transducer, windows

PLANS: dict[str, tuple[Decoding, bytes]] = {
    "ctc": ("ctc", b""),
    "rnnt": ("rnnt", b"an evaluation"),
    "rnnt, further turns": ("rnnt", b"an eager evaluation"),
}


def noise(bundle: Bundle, count: int) -> list[Step]:
    """Windows of a stream of noise."""
    samples = bundle.chunk_samples * (count - 1) + bundle.window_samples
    audio = np.random.default_rng(5).normal(scale=0.05, size=samples).astype(np.float32)
    starts = range(0, bundle.chunk_samples * count, bundle.chunk_samples)
    return [(audio[start : start + bundle.window_samples], ALL_VALID) for start in starts]


@pytest.fixture(params=["ctc", "rnnt"])
def on_onnxruntime(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A bundle of that decoder: the embedded checkpoint's, or that of a small hybrid which emits tokens."""
    if request.param == "ctc":
        folder: Path = request.getfixturevalue("bundle")
        return folder
    from export.bundle import write_bundle
    from tests.export.test_rnnt import hybrid

    write_bundle(hybrid("as published"), 80, tmp_path / "hybrid")
    return tmp_path / "hybrid"


@pytest.mark.usefixtures("every_step_is_taken")
@pytest.mark.nemo
def test_on_onnxruntime(on_onnxruntime: Path) -> None:
    bundle = read_bundle(on_onnxruntime)
    backend = OnnxRuntimeBackend(on_onnxruntime, bundle, "fp32", "onnxruntime-cpu", bundle.decoder(None))
    steps = noise(bundle, 6)
    # The end of the audio within the chunk, and within what it looks ahead to; and other audio.
    others = [(steps[1][0], valid) for valid in (3, 12)] + [(0.5 * steps[2][0], ALL_VALID)]
    emitting = [each for each in stepped(backend, steps) if any(each.get("symbol_log_probs", b""))]
    assert bool(emitting) == (bundle.decoder(None) == "rnnt")
    assert_peeks_change_nothing(backend, steps, others)


@pytest.fixture
def opened(rig: Rig) -> Iterator[Callable[[str, bool], TimedBackend]]:
    """TensorRT's backend on the fake GPU with one of PLANS, with or without the CUDA graph."""
    backends = []

    def open_one(plan: str, cuda_graph: bool) -> TimedBackend:
        decoder, evaluation = PLANS[plan]
        if decoder == "rnnt":
            add_transducer(rig.folder, evaluation)
        backends.append(TimedBackend(rig.open(cuda_graph=cuda_graph, decoder=decoder)))
        return backends[-1]

    yield open_one
    for each in backends:
        each.close()
    assert rig.gpu.live == {}


on_every_plan = pytest.mark.parametrize("plan", PLANS)
with_and_without_graph = pytest.mark.parametrize("cuda_graph", [True, False])


@on_every_plan
@with_and_without_graph
def test_on_tensorrt(rig: Rig, opened: Callable[[str, bool], TimedBackend], plan: str, cuda_graph: bool) -> None:
    backend = opened(plan, cuda_graph)
    for seed in range(5):
        steps = windows(7, seed)
        others = [(steps[3][0], 5), *windows(2, seed + 100)]
        assert_peeks_change_nothing(backend, steps, others, seed)
    assert backend.peek_s
    assert rig.lanes() == 1


@on_every_plan
@with_and_without_graph
def test_what_a_peek_calls(rig: Rig, opened: Callable[[str, bool], TimedBackend], plan: str, cuda_graph: bool) -> None:
    """A step's calls, and with RNN-T a copy of the utterance's state before them and one after them."""
    backend = opened(plan, cuda_graph)
    state = backend.new_state()
    copies = Counter(cudaMemcpyAsync=2) if PLANS[plan][0] == "rnnt" else Counter()
    for window, valid in windows(8):
        rig.gpu.calls.clear()
        before = backend.launches.further_turns
        backend.peek(window, valid, state)
        assert backend.launches.further_turns == before, "a peek's turns are no step's"
        peek = Counter(rig.gpu.calls)
        rig.gpu.calls.clear()
        backend.step(window, valid, state)
        assert peek == Counter(rig.gpu.calls) + copies


@on_every_plan
def test_in_threads(opened: Callable[[str, bool], TimedBackend], plan: str) -> None:
    backend = opened(plan, True)

    def utterances(seed: int) -> None:
        for _ in range(3):
            assert_peeks_change_nothing(backend, windows(5, seed), windows(2, seed + 100), seed)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(utterances, range(4)))


def test_a_backend_that_takes_every_step_over() -> None:
    for backend in (Host(), Wrapped(Host())):
        assert not backend.can_peek
        with pytest.raises(InputError, match="its state over, found host; leave early"):
            backend.peek(*windows(1)[0], backend.new_state())
