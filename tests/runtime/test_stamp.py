import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from runtime.entries import StepEntry
from runtime.errors import InputError
from runtime.stamp import Platform, Stamp, check_stamp, plan_path, read_stamp, stamp_path

HERE = Platform("10.16.1.11", "NVIDIA H100 80GB HBM3", "9.0")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fields(**changes: object) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "step_sha256": _digest(b"step"),
        "precision": "fp16",
        "plan_sha256": _digest(b"a plan"),
        "tensorrt": "10.16.1.11",
        "gpu": "NVIDIA H100 80GB HBM3",
        "compute_capability": "9.0",
        "options": {"level": 3, "cublas": True, "library": "tensorrt"},
        "weights_typed": "strong",
        "build_s": 12.5,
        "created": "2026-01-31",
    } | changes


STEP = StepEntry.model_construct(file="step.fp16.onnx", sha256=_digest(b"step"))


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    plan = plan_path(tmp_path / "model.v1-80ms", "fp16")
    plan.parent.mkdir(parents=True)
    plan.write_bytes(b"a plan")
    stamp_path(plan).write_text(json.dumps(_fields()))
    return plan


def test_paths() -> None:
    assert plan_path(Path("bundles/a.b-80ms"), "fp16") == Path("bundles/a.b-80ms/plans/step.fp16.plan")
    assert plan_path(Path("a-80ms/"), "fp32", "rnnt") == Path("a-80ms/plans/rnnt.fp32.plan")
    assert stamp_path(Path("plans/step.fp16.plan")) == Path("plans/step.fp16.plan.json")


def test_read_and_check(plan: Path) -> None:
    stamp = read_stamp(plan)
    assert stamp == Stamp(**_fields())
    assert json.loads(stamp.model_dump_json()) == _fields()
    check_stamp(stamp, plan, STEP, "fp16", HERE)


@pytest.mark.parametrize(
    ("stamped", "here", "expected"),
    [
        ({"precision": "fp32"}, {}, r"in precision fp16, found fp32; make it again with `make engines PRECISION=fp16`"),
        ({}, {"tensorrt": "8.6.0"}, r"for TensorRT 8\.6\.0, found 10\.16\.1\.11; make it again .*, or install"),
        ({}, {"gpu": "Tesla T4"}, r"for the GPU Tesla T4, found NVIDIA H100 80GB HBM3; make it again .* on this GPU"),
        ({}, {"compute_capability": "7.5"}, r"for compute capability 7\.5, found 9\.0; make it again"),
        ({"gpu": "SM75 without a GPU"}, {}, r"for the GPU NVIDIA H100 80GB HBM3, found SM75 without a GPU; make"),
        (
            {"step_sha256": "0" * 64},
            {},
            r"from a step\.fp16\.onnx with sha256 \w{12}\.\.\., found 0{12}\.\.\.; make it",
        ),
        ({"plan_sha256": "0" * 64}, {}, r"of sha256 0{12}\.\.\., found \w{12}\.\.\.; it is truncated or changed: make"),
    ],
)
def test_mismatch_is_one_line(plan: Path, stamped: dict[str, str], here: dict[str, str], expected: str) -> None:
    stamp_path(plan).write_text(json.dumps(_fields(**stamped)))
    with pytest.raises(InputError) as raised:
        check_stamp(read_stamp(plan), plan, STEP, "fp16", HERE._replace(**here))
    assert re.search(expected, str(raised.value)), raised.value
    assert "\n" not in str(raised.value)


def test_truncated_plan(plan: Path) -> None:
    plan.write_bytes(b"a pl")
    with pytest.raises(InputError, match="truncated"):
        check_stamp(read_stamp(plan), plan, STEP, "fp16", HERE)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "at the file: Invalid JSON"),
        (json.dumps(_fields(colour="red")), "at colour: Extra inputs are not permitted"),
        (json.dumps({k: v for k, v in _fields().items() if k != "gpu"}), "at gpu: Field required"),
        (json.dumps(_fields(schema_version=2)), "is a plan's stamp of schema 2, this version reads 1"),
        (json.dumps(_fields(build_s="12")), "at build_s"),
        (json.dumps(_fields(precision="int4")), "at precision"),
        (json.dumps(_fields(plan_sha256="abc")), "at plan_sha256"),
        (json.dumps(_fields(compute_capability="sm75")), "at compute_capability"),
    ],
)
def test_broken_stamp(plan: Path, content: str, expected: str) -> None:
    stamp_path(plan).write_text(content)
    with pytest.raises(InputError) as raised:
        read_stamp(plan)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_plan_or_stamp(plan: Path) -> None:
    stamp_path(plan).unlink()
    with pytest.raises(
        InputError, match=r"a plan's stamp at .* found none; make it with `make engines PRECISION=fp16`"
    ):
        read_stamp(plan)
    plan.unlink()
    with pytest.raises(InputError, match=r"expected a plan .* found none; make it with `make engines PRECISION=fp16`"):
        read_stamp(plan)
