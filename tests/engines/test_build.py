"""Real builds for SM 7.5 by TensorRT-RTX, which needs no GPU, and what a failed one leaves: nothing."""

import copy
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, Protocol

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.__main__ import parse_args, run
from engines.build import SOURCES, BuildOptions, PlanBuild
from engines.target import Target, this_gpu, turing_without_gpu
from runtime.bundle import read_bundle
from runtime.errors import InputError
from runtime.files import sha256, sources_hash
from runtime.stamp import Platform, check_stamp, read_stamp, stamp_path
from tests.calibration.conftest import toy_model, write_toy

WIDE = 16_384  # columns of the projection

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 of requirements/dev.txt is not installed")

pytestmark = pytest.mark.own_process


@pytest.fixture
def own_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of a projection in FP16, as large as the plan's other bytes are few: real steps are compiled by other tests."""
    monkeypatch.setattr("engines.build.TIMING", tmp_path / "bundles" / "timing")
    folder = write_toy(tmp_path / "bundles" / "toy-80ms", toy_model())
    _with_step(
        folder, _matmul(TensorProto.FLOAT16, np.random.default_rng(0).standard_normal((64, WIDE)).astype(np.float16))
    )
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["steps"]["fp16"] |= {"file": "step.fp16.onnx", "parameters": 64 * WIDE}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def _build(folder: Path, target: Target | None = None, options: BuildOptions | None = None) -> Path:
    build = PlanBuild(folder, "fp16", target or turing_without_gpu("fp16"), options or BuildOptions(level=0))
    build.run()
    return build.plan


def _with_step(folder: Path, model: onnx.ModelProto) -> Path:
    """The bundle with another step.fp16.onnx, its hash right."""
    onnx.save(model, folder / "step.fp16.onnx")
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["steps"]["fp16"]["sha256"] = sha256(folder / "step.fp16.onnx")
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def _left(folder: Path) -> list[str]:
    return sorted(each.name for place in (folder / "plans", folder.parent / "timing") for each in place.rglob("*"))


def test_sm75_plan_and_stamp_then_nothing_to_do(
    own_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--bundle", str(own_bundle), "--precision", "fp16", "--for", "sm75", "--level", "0"]
    run(parse_args(arguments))
    assert "wrote" in capsys.readouterr().out
    plan = own_bundle / "plans" / "step.fp16.sm75.plan"
    assert _left(own_bundle) == [plan.name, f"{plan.name}.json"]

    stamp = read_stamp(plan)
    here = Platform(trt.__version__, "SM75 without a GPU", "7.5")
    check_stamp(stamp, plan, read_bundle(own_bundle).step("fp16"), "fp16", here)
    assert stamp.step_sha256 == sha256(own_bundle / "step.fp16.onnx")
    told = {"library": "tensorrt_rtx", "level": 0, "cublas": True, "products": "matrix"}
    assert stamp.options == told | {"sources": sources_hash(SOURCES)}
    assert stamp.weights_typed == "strong"
    parameters = json.loads((own_bundle / "bundle.json").read_text())["steps"]["fp16"]["parameters"]
    print(f"{plan.stat().st_size} bytes of plan for {parameters} numbers, built in {stamp.build_s} s")
    assert plan.stat().st_size > 1.5 * parameters, "the weights are in it"

    before = plan.stat().st_mtime_ns
    run(parse_args(arguments))
    assert "up to date" in capsys.readouterr().out
    assert plan.stat().st_mtime_ns == before

    same, other = (PlanBuild(own_bundle, "fp16", turing_without_gpu("fp16"), BuildOptions(level=of)) for of in (0, 1))
    assert same.plan == plan
    assert same.is_current()
    assert not other.is_current()
    with monkeypatch.context() as changed:
        changed.setattr("engines.build.SOURCES", SOURCES[1:])  # as where one of them was edited
        assert not same.is_current()
    plan.write_bytes(plan.read_bytes()[:-1])
    assert not same.is_current()


def _matmul(elem_type: int, array: np.ndarray) -> onnx.ModelProto:
    """The projection `some/layer`."""
    x, y = (
        helper.make_tensor_value_info(name, elem_type, [1, size]) for name, size in zip("xy", array.shape, strict=True)
    )
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="some/layer")
    graph = helper.make_graph([node], "step", [x], [y], [numpy_helper.from_array(array, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _unknown_operator() -> onnx.ModelProto:
    model = _matmul(TensorProto.FLOAT16, np.ones((64, 64), np.float16))
    model.graph.node[0].op_type = "NoSuchOperator"
    return model


def _mixed_types() -> onnx.ModelProto:
    return _matmul(TensorProto.FLOAT16, np.ones((64, 64), np.float32))


def _fp32_product() -> onnx.ModelProto:
    return _matmul(TensorProto.FLOAT, np.ones((64, 64), np.float32))


@pytest.mark.parametrize(
    ("model", "stage", "reason"),
    [
        (_unknown_operator, "parse", "some/layer"),
        (_mixed_types, "parse", "some/layer"),
        (_fp32_product, "build", "FP32 GEMM is not supported"),
    ],
)
def test_failed_build_leaves_nothing_and_says_why(
    own_bundle: Path, model: Callable[[], onnx.ModelProto], stage: str, reason: str
) -> None:
    _with_step(own_bundle, model())
    with pytest.raises(InputError, match=f"expected TensorRT to {stage} ") as raised:
        _build(own_bundle)
    print(raised.value)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)
    assert _left(own_bundle) == []


def _with(builder: type) -> Target:
    """TensorRT-RTX with another builder."""
    real = {name: getattr(trt, name) for name in dir(trt)}
    return dataclasses.replace(turing_without_gpu("fp16"), trt=SimpleNamespace(**real | {"Builder": builder}))


class _Logger(Protocol):
    def log(self, severity: object, msg: str) -> None: ...


class _NoBuilder:
    """A machine whose CUDA does not start."""

    def __init__(self, logger: _Logger) -> None:
        logger.log(trt.ILogger.WARNING, "CUDA initialization\nfailure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")


class _RealBuilder:
    """TensorRT's, as a base."""

    def __init__(self, logger: _Logger) -> None:
        self.logger, self.real = logger, trt.Builder(logger)
        self.create_network, self.create_builder_config = self.real.create_network, self.real.create_builder_config


class _OutOfMemory(_RealBuilder):
    """Fails as TensorRT does: a message, then nothing."""

    def build_serialized_network(self, *_: object) -> None:
        self.logger.log(trt.ILogger.ERROR, "layer7/ffn1.in: Error Code 2: OutOfMemory (no memory was available)")


class _Interrupted(_RealBuilder):
    """Ctrl-C arrives when the build begins."""

    returned: ClassVar[list[object]] = []

    def build_serialized_network(self, *arguments: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        self.returned.append(self.real.build_serialized_network(*arguments))
        return self.returned[-1]


@pytest.mark.parametrize(
    ("builder", "expected"),
    [
        (_NoBuilder, "expected TensorRT to start its builder, found: CUDA initialization failure with error: 35;"),
        (_OutOfMemory, "found: layer7/ffn1.in: Error Code 2: OutOfMemory (no memory was available); free GPU memory"),
    ],
)
def test_failures_of_the_builder(own_bundle: Path, builder: type, expected: str) -> None:
    with pytest.raises(InputError) as raised:
        _build(own_bundle, _with(builder))
    assert expected in str(raised.value)
    assert _left(own_bundle) == []


def test_failed_rebuild_keeps_what_was_whole(own_bundle: Path) -> None:
    plan = _build(own_bundle)
    before = {path: path.read_bytes() for path in (plan, stamp_path(plan))}
    with pytest.raises(InputError):
        _build(own_bundle, _with(_OutOfMemory))
    assert {path: path.read_bytes() for path in before} == before


def test_interrupted_build_stops_and_leaves_nothing(own_bundle: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        _build(own_bundle, _with(_Interrupted))
    assert _Interrupted.returned == [None], "TensorRT was asked to stop, and did"
    assert signal.getsignal(signal.SIGINT) is handler
    assert _left(own_bundle) == []


def test_interrupted_writing(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _build(own_bundle)
    before = {path: path.read_bytes() for path in (plan, stamp_path(plan))}

    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", interrupted)  # of the plan
        with pytest.raises(KeyboardInterrupt):
            _build(own_bundle, options=BuildOptions(level=1))
    assert {path: path.read_bytes() for path in before} == before
    monkeypatch.setattr(Path, "write_text", interrupted)  # of its stamp
    with pytest.raises(KeyboardInterrupt):
        _build(own_bundle, options=BuildOptions(level=1))
    with pytest.raises(InputError, match="expected a plan's stamp"):
        read_stamp(plan)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--for", "sm75", "--precision", "fp32"], "expected fp16 or int8 for sm75, found fp32"),
        (["--for", "sm75", "--bundle", "nowhere"], "expected a bundle at nowhere/bundle.json, found none"),
    ],
)
def test_refusals(own_bundle: Path, arguments: list[str], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        run(parse_args(["--bundle", str(own_bundle), *arguments]))
    assert _left(own_bundle) == []


def test_changed_step_is_refused(own_bundle: Path) -> None:
    with (own_bundle / "step.fp16.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match="with sha256"):
        _build(own_bundle)
    assert _left(own_bundle) == []


def test_without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(InputError, match=r"expected the Python package tensorrt, found .*; run `make setup`"):
        this_gpu()


def test_this_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr("engines.target.Device", lambda: SimpleNamespace(name="Tesla T4", compute_capability="7.5"))
    target = this_gpu()
    assert (target.platform, target.offline) == (Platform(trt.__version__, "Tesla T4", "7.5"), False)
    assert target.named(Path("a.fp16.plan")) == Path("a.fp16.plan")


def test_no_gpu_to_build_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise InputError("expected an NVIDIA GPU, found none; take a CPU")

    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr("engines.target.Device", missing)
    with pytest.raises(InputError, match="found none; take a CPU, or build with `--for sm75`"):
        this_gpu()


@pytest.fixture(scope="module", params=[True, False], ids=["hybrid", "transducer"])
def with_transducer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of one layer; made in pytest's process, which thus imports NeMo once."""
    from export.bundle import write_bundle
    from export.checkpoint import RANDOM_CONFIG, random_checkpoint

    config = copy.deepcopy(RANDOM_CONFIG)
    config["encoder"] |= {"n_layers": 1, "d_model": 64, "n_heads": 4, "subsampling_conv_channels": 16}
    config["decoder"]["prednet"]["pred_hidden"] = config["joint"]["jointnet"]["joint_hidden"] = 256
    folder = tmp_path_factory.mktemp("bundles") / "hybrid-80ms"
    made = random_checkpoint("hybrid", "0" * 64, config, 1024)
    if not request.param:
        made = dataclasses.replace(made, ctc_head=None)
    write_bundle(made, 80, folder)
    return folder


@pytest.mark.nemo
def test_a_transducer_s_evaluation_is_compiled_too(with_transducer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_transducer
    arguments = ["--bundle", str(folder), "--precision", "fp16", "--for", "sm75", "--level", "0"]
    run(parse_args(arguments))
    assert capsys.readouterr().out.count("wrote") == 2
    plan = folder / "plans" / "rnnt.fp16.sm75.plan"
    stamp, bundle = read_stamp(plan), read_bundle(folder)
    assert (stamp.step_sha256, stamp.precision) == (sha256(folder / "rnnt.fp16.onnx"), "fp16")
    parameters = bundle.graph("fp16", "rnnt")[1].parameters
    print(f"{plan.stat().st_size} bytes of plan for {parameters} numbers")
    assert plan.stat().st_size > 1.5 * parameters, "the weights are in it"
    run(parse_args(arguments))
    assert capsys.readouterr().out.count("up to date") == 2
