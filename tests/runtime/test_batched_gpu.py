"""BatchedTensorRtBackend on a real GPU, on every bundle in build/bundles that has a plan of many streams: each stream as if alone.

A GPU host without NeMo runs it with `python -m pytest --noconftest -s tests/runtime/test_batched_gpu.py`.
"""

from pathlib import Path

import numpy as np
import pytest

from runtime.backends import ALL_VALID, Step, StepResult
from runtime.backends.batched_tensorrt import BatchedTensorRtBackend
from runtime.bundle import read_bundle
from runtime.cuda import Device
from runtime.errors import FullError
from runtime.stamp import plan_path
from tests.runtime.peeking import Bits, assert_peeks_change_nothing, bits
from tests.runtime.test_tensorrt_gpu import on_every_bundle, pytestmark, windows
from tests.runtime.together import follow

__all__ = ["pytestmark"]

WITHIN = {"fp32": 1e-3, "fp16": 0.02}
"""Of encoded frames: kernels of another number of rows sum in another order."""
TIE = {"fp32": 1e-3, "fp16": 0.05}
"""Best two log-probabilities this close: rounding decides."""
STREAMS = 20
in_either_precision = pytest.mark.parametrize("precision", ["fp32", "fp16"])


def opened(
    folder: Path, precision: str, *, cuda_graph: bool = True, most_streams: int = STREAMS
) -> BatchedTensorRtBackend:
    if not plan_path(folder, precision, "batched").is_file():
        pytest.skip(f"no {precision} plan of many streams there: run `make engines PRECISION={precision} BATCH=1`")
    backend = BatchedTensorRtBackend(folder, read_bundle(folder), precision, most_streams, cuda_graph)
    assert backend.launches.cuda_graph == cuda_graph
    return backend


@on_every_bundle
@in_either_precision
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_every_stream_is_as_if_alone(folder: Path, precision: str, cuda_graph: bool) -> None:
    backend, alone = opened(folder, precision, cuda_graph=cuda_graph), opened(folder, precision)
    speech = [window for window, _ in windows(read_bundle(folder), 200)]
    largest = {"encoded": 0.0, "log_probs": 0.0}
    decided = 0

    def compare(found: StepResult, expected: StepResult) -> None:
        nonlocal decided
        for name, so_far in largest.items():
            if getattr(expected, name) is not None:
                difference = getattr(found, name) - getattr(expected, name)
                assert np.isfinite(difference).all(), name
                largest[name] = max(so_far, float(np.abs(difference).max()))
        if expected.log_probs is not None:
            second, best = np.sort(expected.log_probs)[:, -2:].T
            clear = best - second > TIE[precision]
            assert np.array_equal(np.asarray(found.tokens)[clear], np.asarray(expected.tokens)[clear])
            decided += int(clear.sum())

    happened = follow(backend, alone, speech, compare, streams=STREAMS, runs=200)
    kinds = {what: happened[what] for what in ("begun", "ended", "peeks", "steps")}
    print(f"\n{folder.name} {precision}: {kinds}, largest differences {largest}, {decided} tokens the same")
    backend.close()
    alone.close()
    assert largest["encoded"] <= WITHIN[precision]


def results_of_first(backend: BatchedTensorRtBackend, folder: Path, loudness: float) -> list[Bits]:
    """What the first of STREAMS streams gives while the others hear speech of that loudness, and rest now and then."""
    generator = np.random.default_rng(0)
    states = [backend.new_state() for _ in range(STREAMS)]
    results = []
    for window, valid in windows(read_bundle(folder), 100):
        others = [
            Step(np.float32(loudness) * window[::-1], ALL_VALID, state, peek=bool(generator.random() < 0.3))
            for state in states[1:]
        ]
        results.append(bits(backend.run([Step(window, valid, states[0]), *others])[0]))
    return results


@on_every_bundle
@in_either_precision
def test_a_stream_does_not_depend_on_its_neighbours_nor_on_a_graph(folder: Path, precision: str) -> None:
    """Bit for bit, in its place among as many; also in slots that were used."""
    runs = []
    for cuda_graph in (True, False):
        backend = opened(folder, precision, cuda_graph=cuda_graph)
        runs += [results_of_first(backend, folder, loudness) for loudness in (0.0, 1.0, 100.0)]
        backend.close()
    assert all(run == runs[0] for run in runs)


@on_every_bundle
@in_either_precision
def test_peeks_change_nothing(folder: Path, precision: str) -> None:
    backend = opened(folder, precision)
    steps = windows(read_bundle(folder), 24)
    assert_peeks_change_nothing(backend, steps, [(steps[5][0], 3), (0.5 * steps[9][0], ALL_VALID)])
    backend.close()


@on_every_bundle
def test_more_steps_than_the_largest_batch_holds(folder: Path) -> None:
    backend = opened(folder, "fp16", most_streams=300)
    largest = list(backend._batches.of_size)[-1]
    cut = windows(read_bundle(folder), 300)
    states = [backend.new_state() for _ in cut]
    with pytest.raises(FullError):
        backend.new_state()
    found = backend.run([Step(*each, state) for each, state in zip(cut, states, strict=True)])
    encoded = [result.encoded.copy() for result in found]
    del found
    states.clear()
    for place in (0, largest - 1, min(largest, 299), 299):
        alone = backend.step(*cut[place], backend.new_state()).encoded
        assert np.abs(alone - encoded[place]).max() <= WITHIN["fp16"], place
    backend.close()


@on_every_bundle
@in_either_precision
def test_closing_gives_the_memory_back(folder: Path, precision: str) -> None:
    free = []
    for _ in range(4):
        backend = opened(folder, precision)
        backend.step(*windows(read_bundle(folder), 1)[0], backend.new_state())
        backend.close()
        free.append(Device().memory()[0])
    kept = free[0] - free[-1]  # the first opening also loads CUDA's modules, which stay
    print(f"\n{folder.name} {precision}: {kept / 2**20:.1f} MiB kept by three more openings")
    assert kept < plan_path(folder, precision, "batched").stat().st_size
