import gc
import math
from dataclasses import asdict

import numpy as np
import pytest

from engines.memory import MemoryByOwner, memory_by_owner
from runtime.entries import STATE
from runtime.errors import CudaError, InputError
from runtime.stamp import plan_path
from tests.runtime.fake_tensorrt import INPUTS, SCRATCH, SHAPES
from tests.runtime.rig import Rig, write_stamp

COSTS = {"cuda": 500_000_000, "engine": 100_000_000, "context": 7_000_000, "executable": 3_000_000}


def _mb(*names: str) -> float:
    """What these tensors take, each at its own 512 bytes' boundary."""
    sizes = [np.dtype(SHAPES[name][0]).itemsize * math.prod(SHAPES[name][1]) for name in names]
    return sum(math.ceil(size / 512) * 512 for size in sizes) / 1e6


EXPECTED = {
    "cuda": 500,
    "weights": 100,
    "contexts": 14,
    "graphs": 6,
    "activations": SCRATCH / 1e6,
    "states": 2 * _mb(*STATE),
    "inputs_outputs": _mb(*(name for name in SHAPES if name.removeprefix("next_") not in STATE)),
}


@pytest.mark.parametrize("version", ["8.6.0", "10.16.1.11", "11.4.0.106"])
@pytest.mark.parametrize(("capturable", "graphs"), [(True, 6), (False, 0)])
def test_every_byte_has_its_owner(rig: Rig, version: str, capturable: bool, graphs: float) -> None:
    assert len(SHAPES) == len(INPUTS) + 6
    gpu = rig.install(version, costs=COSTS, capturable=capturable)
    write_stamp(rig.folder, tensorrt=version)
    found = memory_by_owner(rig.folder, "fp32")
    assert asdict(found) == pytest.approx(EXPECTED | {"graphs": graphs}, abs=1e-9)
    assert found.total == pytest.approx(sum(asdict(found).values()))
    assert gpu.live == {}
    assert gpu.held() == COSTS["cuda"]


def test_it_is_what_an_open_stream_holds(rig: Rig) -> None:
    expected = memory_by_owner(rig.folder, "fp32").total
    gpu = rig.install(costs=COSTS)
    found = memory_by_owner(rig.folder, "fp32")
    assert found.total - expected == pytest.approx(500 + 100 + 14 + 6)
    backend = rig.open()
    backend.new_state()
    assert found.total == pytest.approx(gpu.held() / 1e6)


def test_memory_freed_by_others_meanwhile_is_no_negative_owner(rig: Rig) -> None:
    rig.install(costs=COSTS | {"engine": -5, "context": -5, "executable": -5})
    assert all(size >= 0 for size in asdict(memory_by_owner(rig.folder, "fp32")).values())


def test_a_plan_that_is_missing_or_refused(rig: Rig) -> None:
    write_stamp(rig.folder, gpu="Another GPU")
    with pytest.raises(InputError, match="found Another GPU"):
        memory_by_owner(rig.folder, "fp32")
    plan_path(rig.folder, "fp32").unlink()
    with pytest.raises(InputError, match="found none; make it with `make engines PRECISION=fp32`"):
        memory_by_owner(rig.folder, "fp32")
    assert rig.gpu.live == {}


def test_every_failure_frees_everything(rig: Rig) -> None:
    assert isinstance(memory_by_owner(rig.folder, "fp32"), MemoryByOwner)
    calls = rig.gpu.calls
    assert len(calls) > 50
    outcomes = set()
    for place, name in enumerate(calls, 1):
        gpu = rig.install(fail_at=place)
        try:
            memory_by_owner(rig.folder, "fp32")
            outcomes.add("capture failed")
        except (CudaError, InputError) as error:
            outcomes.add(type(error).__name__)
        if gpu.live:
            gc.collect()  # what the error's traceback held
        assert gpu.live == {}, f"call {place}, {name}, failed"
    assert outcomes == {"capture failed", "CudaError", "InputError"}
