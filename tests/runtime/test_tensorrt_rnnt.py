"""RNN-T behind the step on the fake GPU: the host's loop over frames and symbols, few launches, resets, freeing, refusals."""

import gc
from collections import Counter

import numpy as np
import pytest

from runtime.entries import MAX_SYMBOLS
from runtime.errors import CudaError, InputError
from runtime.recognizer import Recognizer
from runtime.stamp import plan_path
from tests.runtime import fake_rnnt
from tests.runtime.fake_rnnt import BLANK, Greedy
from tests.runtime.rig import Host, Rig, add_transducer, assert_same, windows, write_stamp

USUAL, MORE = 4, 2  # evaluations: with a step of two frames, and in each further turn
PLANS = {"usual": b"an evaluation", "eager": b"an eager evaluation"}


def assert_follows_loop(rig: Rig, plan: str, *, cuda_graph: bool, ctc: bool = True, utterances: int = 3) -> None:
    """Steps and decoding of several utterances in one lane, and the launches that they take."""
    backend = rig.open(cuda_graph=cuda_graph, decoder="rnnt")
    seen: Counter[int] = Counter()
    for seed in range(utterances):
        host, loop, state = Host(ctc=ctc), Greedy(eager=plan == "eager"), backend.new_state()
        expected_state = host.new_state()
        for window, valid in windows(5 + seed, seed):
            rig.gpu.calls.clear()
            before = backend.launches.further_turns or 0
            found, expected = backend.step(window, valid, state), host.step(window, valid, expected_state)
            expected_state = expected.state
            assert_same(found, expected)
            symbols, scores, evaluations = loop.chunk(expected.encoded)
            for emitted, looped in ((found.symbols, symbols), (found.symbol_log_probs, scores)):
                assert emitted is not None
                assert emitted.dtype == looped.dtype
                assert np.array_equal(emitted, looped)
            turns = max(0, -(-(evaluations - USUAL) // MORE))
            assert (backend.launches.further_turns or 0) - before == turns
            calls = Counter(rig.gpu.calls)
            if cuda_graph:
                assert calls == Counter(
                    cudaGraphLaunch=1 + turns, cudaEventRecord=1 + turns, cudaEventSynchronize=1 + turns
                )
            else:
                assert calls["execute_async_v3"] == 1 + USUAL + MORE * turns
            seen += Counter({turns: 1})
        del state, found
    assert rig.lanes() == 1
    assert seen[0] or plan == "eager", "no chunk was done in one launch"
    assert len(seen) > 1, "no chunk needed further turns"
    backend.close()
    assert rig.gpu.live == {}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("cuda_graph", [True, False])
@pytest.mark.parametrize("version", ["8.6.0", "10.16.1.11"])
def test_equals_the_loop_on_the_host(rig: Rig, plan: str, cuda_graph: bool, version: str) -> None:
    rig.install(version)
    write_stamp(rig.folder, tensorrt=version)
    add_transducer(rig.folder, PLANS[plan])
    write_stamp(rig.folder, "rnnt", tensorrt=version)
    assert_follows_loop(rig, plan, cuda_graph=cuda_graph)


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_a_transducer_alone(rig: Rig, cuda_graph: bool) -> None:
    audio, finals = np.concatenate([window for window, _ in windows(20)]), []
    for ctc in (True, False):
        add_transducer(rig.folder, PLANS["usual"], ctc=ctc)
        assert_follows_loop(rig, "usual", cuda_graph=cuda_graph, ctc=ctc)
        with Recognizer(rig.folder, precision="fp32", backend="tensorrt") as recognizer:
            stream = recognizer.stream(early="off")
            assert stream.push(audio)
            finals.append(stream.end_utterance())
    assert finals[0] == finals[1], "the CTC head made a difference"
    with pytest.raises(InputError, match=r"expected a decoder of the bundle \(rnnt\), found ctc"):
        Recognizer(rig.folder, precision="fp32", backend="tensorrt", decoder="ctc")


def test_a_plan_with_a_head_that_the_bundle_lacks(rig: Rig) -> None:
    add_transducer(rig.folder, PLANS["usual"], ctc=False)
    plan_path(rig.folder, "fp32").write_bytes(b"a plan")
    write_stamp(rig.folder)
    with pytest.raises(InputError, match=r"expected the plan .* with log_probs None, found"):
        rig.open(decoder="rnnt")


def test_the_cap_is_hit(rig: Rig) -> None:
    add_transducer(rig.folder, PLANS["eager"])
    backend = rig.open(decoder="rnnt")
    state = backend.new_state()
    counts: Counter[int] = Counter()
    for window, valid in windows(40):
        symbols = backend.step(window, valid, state).symbols
        assert symbols is not None
        counts.update((symbols != BLANK).sum(1).tolist())
    assert counts[MAX_SYMBOLS]
    assert counts[0]
    backend.close()


def test_streams_of_both_decoders(rig: Rig) -> None:
    add_transducer(rig.folder, PLANS["usual"])
    audio = np.concatenate([window for window, _ in windows(20)])
    finals = {}
    for decoder in ("ctc", "rnnt", None):
        with Recognizer(rig.folder, precision="fp32", backend="tensorrt", decoder=decoder) as recognizer:
            stream = recognizer.stream(early="off")
            partials, finals[decoder] = stream.push(audio), stream.end_utterance()
            assert partials
            stream.push(audio)
            assert stream.end_utterance().at(0.0) == finals[decoder], "an utterance left something behind"
    assert finals[None] == finals["rnnt"] != finals["ctc"]
    assert rig.gpu.live == {}


def test_an_evaluation_that_does_not_end_is_one_line(rig: Rig) -> None:
    add_transducer(rig.folder, b"an endless evaluation")
    backend = rig.open(decoder="rnnt")
    with pytest.raises(CudaError, match="did not end within the most symbols"):
        backend.step(*windows(1)[0], backend.new_state())
    backend.close()
    assert rig.gpu.live == {}


def use(rig: Rig) -> None:
    backend = rig.open(decoder="rnnt")
    try:
        states = [backend.new_state(), backend.new_state()]
        for window, valid in windows(2):
            backend.peek(window, valid, states[-1])
            backend.step(window, valid, states[-1])
    finally:
        backend.close()


def test_every_failure_frees_everything(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    add_transducer(rig.folder, PLANS["eager"])
    use(rig)
    calls = rig.gpu.calls
    assert rig.gpu.live == {}
    assert len(calls) > 150
    for place, name in enumerate(calls, 1):
        gpu = rig.install(fail_at=place)
        try:
            use(rig)
            said = capsys.readouterr().err  # that the capture failed
        except (CudaError, InputError) as error:
            said = f"{error}\n"
        assert said.count("\n") == 1, f"call {place}, {name}, failed: {said!r}"
        assert name in said or "refuses" in said, f"call {place}, {name}, failed: {said!r}"
        if gpu.live:
            gc.collect()  # what the error's traceback held
        assert gpu.live == {}, f"call {place}, {name}, failed"


def test_what_is_missing_or_of_something_else_is_refused(rig: Rig) -> None:
    with pytest.raises(InputError, match=r"expected a decoder of the bundle \(ctc\), found rnnt"):
        rig.open(decoder="rnnt")
    add_transducer(rig.folder, PLANS["usual"])
    write_stamp(rig.folder, "rnnt", step_sha256="b" * 64)
    with pytest.raises(InputError, match=r"from a rnnt\.fp32\.onnx with sha256 aaaaaaaaaaaa\.\.\., found bbbbbbbbbbbb"):
        rig.open(decoder="rnnt")
    write_stamp(rig.folder, "rnnt")
    rig.install(shapes=fake_rnnt.SHAPES)
    with pytest.raises(InputError, match=r"expected the plan .*step\.fp32\.plan with audio"):
        rig.open(decoder="rnnt")
    rig.install()
    plan_path(rig.folder, "fp32", "rnnt").unlink()
    with pytest.raises(
        InputError,
        match=r"expected a plan at .*toy/plans/rnnt\.fp32\.plan, found none; make it with `make engines PRECISION=fp32`",
    ):
        rig.open(decoder="rnnt")
    rig.open(decoder="ctc").close()
