"""A GPU that another process has filled: one line that says how much is free, everything freed, other streams go on."""

import gc

import numpy as np
import pytest

from runtime.__main__ import parse_args, run
from runtime.errors import CudaError, InputError, exit_code
from runtime.recognizer import Recognizer
from tests.runtime.fake_gpu import TOTAL
from tests.runtime.rig import Rig, assert_follows_host, windows

MB = 10**6
COSTS = {"cuda": 300 * MB, "engine": 50 * MB, "stream": MB, "context": 2 * MB, "executable": MB}
FILLED = [  # MB that the other process leaves, what fails there, what it says
    (0, "deserialize_cuda_engine", "found that it refuses"),
    (50, "cudaStreamCreateWithFlags", "cudaStreamCreateWithFlags: cudaErrorMemoryAllocation"),
    (51, "cudaMalloc", "cudaMalloc: cudaErrorMemoryAllocation"),
    (52, "create_execution_context", "create_execution_context: TensorRT made none"),
    (54, "create_execution_context", "create_execution_context: TensorRT made none"),
]


@pytest.mark.parametrize(("left_mb", "call", "message"), FILLED)
def test_no_room_to_open(rig: Rig, capsys: pytest.CaptureFixture[str], left_mb: int, call: str, message: str) -> None:
    gpu = rig.install(costs=COSTS | {"cuda": TOTAL - left_mb * MB})
    with pytest.raises((CudaError, InputError)) as error:
        rig.open()
    said = str(error.value)
    assert message in said
    assert f"of {TOTAL / MB:.0f} MB are free on Fake GPU: end what else uses it, see nvidia-smi" in said
    assert said.isprintable()
    assert gpu.calls[-1] in (
        call,
        "cudaStreamSynchronize",
        "cudaFree",
        "cudaFreeHost",
        "cudaEventDestroy",
        "cudaStreamDestroy",
    )
    del error
    gc.collect()
    assert gpu.live == {}
    words = ["--bundle", str(rig.folder), "--backend", "tensorrt", "--precision", "fp32", "no-such-file"]
    assert exit_code(lambda: run(parse_args(words))) in (1, 2)
    assert capsys.readouterr().err.count("\n") == 1
    gc.collect()
    assert gpu.live == {}


def test_no_room_for_one_more_stream(rig: Rig) -> None:
    gpu = rig.install(costs=dict(COSTS))
    audio = np.concatenate([window for window, _ in windows(20)])
    backend = rig.open()
    with Recognizer(rig.folder, backend=backend) as recognizer:
        stream = recognizer.stream()
        gpu.costs["cuda"] = TOTAL - gpu.held() + COSTS["cuda"] - MB  # another process takes all but 1 MB
        held = dict(gpu.live)
        for _ in range(3):
            with pytest.raises(CudaError, match=r"cudaMalloc: .*; 0 of 17180 MB are free on Fake GPU: end what else"):
                recognizer.stream()
        gc.collect()
        assert gpu.live == held
        events = stream.push(audio), stream.end_utterance()
        gpu.costs["cuda"] = COSTS["cuda"]  # and ends
        other = recognizer.stream()
        assert (other.push(audio), other.end_utterance()) == events
        assert events[1].text
        assert_follows_host(backend)
    assert gpu.live == {}
