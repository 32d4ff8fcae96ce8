"""What TensorRT 8.6 is told: the front end stays FP32, the rest is the builder's; in INT8 it gets FP32 scales."""

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from engines.build import BuildOptions, PlanBuild
from engines.precision import set_flags, with_fp32_scales
from engines.progress import make_logger
from engines.target import Target, turing_without_gpu
from export.placement import QUANTISED, quantised_products
from export.quantise import quantised, thresholds_of
from runtime.backends.onnxruntime import open_session
from runtime.bundle import read_bundle, write_manifest
from runtime.errors import InputError
from runtime.files import sha256
from tests.export.part import part

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 of requirements/dev.txt is not installed")


class Parsed:
    """A network as TensorRT's parser makes it; it lives as long as this object."""

    def __init__(self, step: Path) -> None:
        self._owners: list[Any] = [make_logger(trt)]
        self._owners.append(trt.Builder(self._owners[0]))
        self.network = self._owners[1].create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self._owners.append(trt.OnnxParser(self.network, self._owners[0]))
        assert self._owners[2].parse_from_file(str(step)), step

    def layers(self) -> Iterator[Any]:
        return (self.network.get_layer(index) for index in range(self.network.num_layers))


class Typable:
    """A layer with what RTX's lacks and 8.6's has: a precision and output types to set."""

    def __init__(self, layer: Any) -> None:  # noqa: ANN401
        self.name, self.type = layer.name, layer.type
        self.num_inputs, self.num_outputs = layer.num_inputs, layer.num_outputs
        self.get_input, self.get_output = layer.get_input, layer.get_output
        self.precision: object = None
        self.dtype: object = None
        self.output_types: dict[int, object] = {}

    def set_output_type(self, index: int, dtype: object) -> None:
        self.output_types[index] = dtype


@pytest.fixture(scope="module")
def held(bundle: Path) -> tuple[dict[str, Typable], list[str]]:
    """The layers of step.fp16.onnx by name, after the front end was held; and the builder flags that were set."""
    parsed = Parsed(bundle / "step.fp16.onnx")
    layers = [Typable(each) for each in parsed.layers()]
    flags: list[str] = []
    names = SimpleNamespace(FP16="FP16", OBEY_PRECISION_CONSTRAINTS="OBEY")
    module = SimpleNamespace(BuilderFlag=names, LayerType=trt.LayerType, float32=trt.float32)
    network = SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    set_flags(module, SimpleNamespace(set_flag=flags.append), network, "fp16")
    for each in layers:  # read while the network lives
        each.dtype = each.get_output(0).dtype
    return {each.name: each for each in layers}, flags


def test_flags(held: tuple[dict[str, Typable], list[str]]) -> None:
    assert held[1] == ["FP16", "OBEY"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("mel/spectrum", True),
        ("mel/energy", True),
        ("mel/log", True),
        ("subsampling/stage0.strided", True),
        ("subsampling/stage2.pointwise", True),
        ("subsampling/out", False),
        ("layer3/ffn1.norm", False),
        ("layer3/conv.depthwise", False),
        ("ctc/logits", False),
        ("mask/begun", False),
    ],
)
def test_which_layers_are_held(held: tuple[dict[str, Typable], list[str]], part: str, expected: bool) -> None:
    layer = held[0][part]
    assert (layer.precision == trt.float32) == expected
    assert layer.output_types == ({0: trt.float32} if expected else {})


def test_every_fp32_layer_of_the_front_end_is_held(held: tuple[dict[str, Typable], list[str]]) -> None:
    front = [each for name, each in held[0].items() if name.startswith(("mel/", "subsampling/stage"))]
    computing = [each for each in front if each.type != trt.LayerType.CONSTANT]
    assert len(computing) >= 15
    assert all(each.precision == trt.float32 for each in computing if each.dtype == trt.float32)


def test_int8_is_allowed_and_the_caches_are_reformatted_nowhere() -> None:
    types = {"audio": trt.float32, "kv_cache": trt.float16, "next_time_cache": trt.float16, "next_length": trt.int32}
    tensors = [SimpleNamespace(name=name, dtype=dtype, allowed_formats=None) for name, dtype in types.items()]
    flags: list[str] = []
    names = SimpleNamespace(FP16="FP16", INT8="INT8", OBEY_PRECISION_CONSTRAINTS="OBEY", DIRECT_IO="DIRECT")
    module = SimpleNamespace(BuilderFlag=names, float16=trt.float16, TensorFormat=trt.TensorFormat)
    network = SimpleNamespace(
        num_layers=0, num_inputs=2, num_outputs=2, get_input=tensors[:2].__getitem__, get_output=tensors[2:].__getitem__
    )
    set_flags(module, SimpleNamespace(set_flag=flags.append), network, "int8")
    assert flags == ["FP16", "OBEY", "INT8", "DIRECT"]
    linear = 1 << int(trt.TensorFormat.LINEAR)
    assert [each.allowed_formats for each in tensors] == [None, linear, linear, None]


def test_fp32_is_told_nothing() -> None:
    set_flags(SimpleNamespace(), SimpleNamespace(), SimpleNamespace(), "fp32")


def _forms(bundle: Path, folder: Path, amax: dict[str, float], kept: Collection[str]) -> dict[str, onnx.ModelProto]:
    """step.fp16.onnx, step.int8.onnx made of it, and what TensorRT 8.6 gets of that."""
    folder.mkdir(parents=True)
    shutil.copyfile(bundle / "step.fp16.onnx", folder / "step.fp16.onnx")
    step = onnx.load(folder / "step.fp16.onnx")
    int8 = quantised(step, amax, kept)
    onnx.save(int8, folder / "step.int8.onnx")
    manifest = read_bundle(bundle)
    named = {"file": "step.int8.onnx", "sha256": sha256(folder / "step.int8.onnx")}
    steps = {**manifest.steps, "int8": manifest.step("fp16").model_copy(update=named)}
    manifest = manifest.model_copy(update={"steps": steps})
    write_manifest(folder, manifest)
    flagged = onnx.load_from_string(with_fp32_scales(folder, manifest))
    return {"fp16": step, "int8": int8, "flagged": flagged}


def test_only_quantised_products_are_fp32(bundle: Path, tmp_path: Path) -> None:
    products = quantised_products(onnx.load(bundle / "step.fp16.onnx"))
    amax = {name: 2.0 + index / 9 for index, name in enumerate(products)}
    forms = _forms(bundle, tmp_path / "bundle", amax, [name for name in products if name.startswith("layer3/")])
    flagged = forms["flagged"]
    assert flagged.opset_import[0].version == 17, "TensorRT 8.6 parses no more"
    expected, found = thresholds_of(forms["int8"]), thresholds_of(flagged)
    assert found.keys() == expected.keys() == products.keys() - {f"layer3/{kind}" for kind in QUANTISED}
    worst = max(abs(found[name] / expected[name] - 1) for name in found)
    print(f"{len(found)} thresholds, within {worst:.1e}")
    assert worst <= 1e-6
    nodes = {node.name: node for node in flagged.graph.node}
    constants = {each.name: each for each in flagged.graph.initializer}
    read = {name for node in forms["fp16"].graph.node if node.name in found for name in node.input}
    assert all(constants[name].data_type == onnx.TensorProto.FLOAT for name in read & constants.keys())
    assert all(nodes[node.name] == node for node in forms["fp16"].graph.node if node.name not in found)
    assert all(constants[each.name] == each for each in forms["fp16"].graph.initializer if each.name not in read)


def test_more_than_onnx_holds_is_refused(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    products = quantised_products(onnx.load(bundle / "step.fp16.onnx"))
    monkeypatch.setattr("export.graph.MAX_BYTES", 40_000_000)
    with pytest.raises(
        InputError, match=r"in FP32, found 0\.1 GB of constants, an ONNX file holds 0\.0; use TensorRT 10"
    ):
        _forms(bundle, tmp_path / "bundle", dict.fromkeys(products, 6.0), ())


def test_what_is_built_where_flags_decide(
    shallow_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, built = tmp_path / "bundles" / "toy", []
    products = quantised_products(onnx.load(shallow_bundle / "step.fp16.onnx"))
    forms = _forms(shallow_bundle, folder, dict.fromkeys(products, 6.0), ["layer0/ffn1.in"])

    def serialized(_build: PlanBuild, _source: Path, content: bytes, _timing: Path) -> tuple[bytes, None]:
        built.append(onnx.load_from_string(content))
        return b"plan", None

    monkeypatch.setattr(Target, "strongly_typed", False)
    monkeypatch.setattr(PlanBuild, "serialized", serialized)
    for form in ("matrix", "sum"):
        stamp = PlanBuild(folder, "int8", turing_without_gpu("int8"), BuildOptions(products=form)).run()
        assert (stamp.weights_typed, stamp.precision, stamp.options["products"]) == ("flags", "int8", form)
    matrix, as_sums = built
    assert matrix == forms["flagged"]
    assert as_sums.opset_import[0].version == 17
    gemms = {node.name for node in as_sums.graph.node if node.op_type == "Gemm"}
    assert gemms == products.keys() - {"layer0/ffn1.in"}, "what is not quantised is a sum"


@pytest.mark.usefixtures("rounding")
@pytest.mark.parametrize("kind", QUANTISED)
def test_a_product_is_that_of_the_int8_step(kind: str, shallow_bundle: Path, tmp_path: Path) -> None:
    """But for the scales of its weights, which FP16 rounds there."""
    name, products = f"layer1/{kind}", quantised_products(onnx.load(shallow_bundle / "step.fp16.onnx"))
    forms = _forms(shallow_bundle, tmp_path / "bundle", {name: 6.0}, products.keys() - {name})
    feeds = {each.name: each.zeros() for each in read_bundle(shallow_bundle).step("fp16").inputs}
    feeds["audio"][:] = np.random.default_rng(0).standard_normal(feeds["audio"].shape) * 0.1
    feeds["valid"][:] = 10_000
    outputs = {}
    for form, model in forms.items():
        session = open_session(part(model, [name]).SerializeToString(), "onnxruntime-cpu")
        outputs[form] = session.run([name], feeds)[0].astype(float)
    lost, apart = (float(np.std(outputs["int8"] - outputs[each])) for each in ("fp16", "flagged"))
    print(f"{name}: {apart:.1e} rms between the forms, {lost:.1e} from FP16, of {np.std(outputs['fp16']):.1e}")
    assert apart <= lost / 4
