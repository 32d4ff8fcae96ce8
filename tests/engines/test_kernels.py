"""The captured step's kernels on the fake GPU, whose clock advances with what runs."""

import gc
import math
import sys
from collections.abc import Callable

import numpy as np
import pytest

from engines import kernels
from engines.kernels import profile_step
from runtime.driver import BINDINGS
from runtime.errors import CudaError, InputError
from tests.runtime.fake_driver import NAMES, FakeDriver
from tests.runtime.fake_gpu import KERNEL_US
from tests.runtime.fake_tensorrt import SHAPES
from tests.runtime.rig import Rig, write_stamp

MEMCPY = ("memcpy", "memory", (), ())
REFORMAT = ("void cuInt8::nchwTonchw<float, __half, 8>", "reformat", (6, 2, 1), (128, 4, 1))
FUSED = ("__myl_bb0_31_AddSqrDivMulCasMulAddNegExpAddDivMulResMulSum", "fused", (6, 2, 1), (128, 4, 1))


def _copied(*names: str) -> float:
    """Microseconds that the fake GPU takes to copy these tensors, each from a boundary of 512 bytes."""
    sizes = [np.dtype(SHAPES[name][0]).itemsize * math.prod(SHAPES[name][1]) for name in names]
    return 0.01 * sum(math.ceil(size / 512) * 512 for size in sizes)


SENT, FETCHED = _copied("audio", "valid"), _copied("tokens", "log_probs", "encoded")


@pytest.mark.parametrize("edges", ["13", "12.9", "12.0"])
@pytest.mark.parametrize(("handles", "expected"), [((1, 0), REFORMAT), ((0, 2), FUSED), ((1, 2), REFORMAT)])
def test_each_kernel_in_the_step_s_order(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, edges: str, handles: tuple[int, int], expected: tuple[object, ...]
) -> None:
    gpu = rig.install(edges=edges)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", FakeDriver(gpu, handles))
    found = profile_step(rig.folder, "fp32")
    assert SENT != FETCHED
    assert [(each.name, each.kind, each.grid, each.block) for each in found.kernels] == [MEMCPY, expected, MEMCPY]
    assert [each.microseconds for each in found.kernels] == pytest.approx([SENT, KERNEL_US, FETCHED])
    assert found.microseconds == pytest.approx(SENT + KERNEL_US + FETCHED), "the launch itself is not in it"
    assert found.regret_microseconds == pytest.approx(KERNEL_US if expected is REFORMAT else 0)
    assert gpu.live == {}


@pytest.mark.parametrize(
    "name",
    [
        "cuGraphAddKernelNode",
        "cuGraphKernelNodeCopyAttributes",
        "cuGraphMemcpyNodeGetParams",
        "cuGraphAddMemcpyNode",
        "cuCtxGetCurrent",
        "cudaGraphAddEventRecordNode",
        "cudaEventElapsedTime",
    ],
)
def test_a_copy_that_fails_leaves_its_time_unknown(rig: Rig, name: str) -> None:
    names = [each.name for each in profile_step(rig.folder, "fp32").kernels]
    last = [place for place, call in enumerate(rig.gpu.calls, 1) if call == name][-1]
    gpu = rig.install(fail_at=last)
    found = profile_step(rig.folder, "fp32").kernels
    assert [each.name for each in found] == names
    untimed = [each.name for each in found if each.microseconds is None]
    assert untimed == [names[1] if "Kernel" in name else "memcpy"]
    assert gpu.live == {}


def _without_name(api: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: int) -> None:
        raise RuntimeError('Function "cuFuncGetName" not found')  # of an older driver

    monkeypatch.setattr(api, "cuFuncGetName", missing, raising=False)


@pytest.mark.parametrize(
    ("break_", "said"),
    [
        (_without_name, 'cuFuncGetName: Function "cuFuncGetName" not found'),
        (lambda _, patch: patch.delattr(FakeDriver, "cuFuncGetName"), "cuFuncGetName: .* no attribute"),
        (lambda _, patch: patch.setitem(NAMES, 1, None), "cuFuncGetName: CUDA_ERROR_INVALID_VALUE"),
        (lambda _, patch: [patch.setitem(sys.modules, each, None) for each in BINDINGS], "driver API, found none"),
    ],
)
def test_a_driver_that_tells_no_names(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, break_: Callable[[FakeDriver, pytest.MonkeyPatch], object], said: str
) -> None:
    break_(sys.modules["cuda.bindings.driver"], monkeypatch)  # type: ignore[arg-type]
    with pytest.raises(CudaError, match=said) as error:
        profile_step(rig.folder, "fp32")
    assert "\n" not in str(error.value)
    assert rig.gpu.live == {}


def test_a_plan_that_is_refused(rig: Rig) -> None:
    write_stamp(rig.folder, gpu="Another GPU")
    with pytest.raises(InputError, match="found Another GPU"):
        profile_step(rig.folder, "fp32")


def test_every_failure_frees_everything(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "COPIES", 2)
    monkeypatch.setattr(kernels, "LAUNCHES", 2)
    profile_step(rig.folder, "fp32")
    calls = rig.gpu.calls
    assert len(calls) > 100
    outcomes = set()
    for place, name in enumerate(calls, 1):
        gpu = rig.install(fail_at=place)
        try:
            found = profile_step(rig.folder, "fp32").kernels
            outcomes.add("not timed" if any(each.microseconds is None for each in found) else name)
        except (CudaError, InputError) as error:
            outcomes.add(type(error).__name__)
        if gpu.live:
            gc.collect()  # what the error's traceback held
        assert gpu.live == {}, f"call {place}, {name}, failed"
    # What fails after a kernel is timed is no reason to forget its time.
    assert outcomes == {"not timed", "cudaGraphDestroy", "CudaError", "InputError"}
