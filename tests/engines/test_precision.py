"""What TensorRT 8.6 is told: the front end stays FP32, the rest is the builder's; in INT8 it gets FP32 scales and FP16 caches."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from calibration.placement import quantised_products
from calibration.quantise import quantised, thresholds_of
from engines.precision import set_flags, with_fp32_scales
from engines.progress import make_logger
from runtime.bundle import read_bundle

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


def test_int8_allows_it_and_keeps_caches_in_fp16() -> None:
    tensors = [SimpleNamespace(name=name, dtype=trt.float32) for name in ("audio", "kv_cache", "next_time_cache")]
    tensors.append(SimpleNamespace(name="length", dtype=trt.int32))
    flags: list[str] = []
    names = SimpleNamespace(FP16="FP16", INT8="INT8", OBEY_PRECISION_CONSTRAINTS="OBEY")
    module = SimpleNamespace(BuilderFlag=names, float32=trt.float32, float16=trt.float16)
    network = SimpleNamespace(
        num_layers=0, num_inputs=2, num_outputs=2, get_input=tensors[:2].__getitem__, get_output=tensors[2:].__getitem__
    )
    set_flags(module, SimpleNamespace(set_flag=flags.append), network, "int8")
    assert flags == ["FP16", "OBEY", "INT8"]
    assert [each.dtype for each in tensors] == [trt.float32, trt.float16, trt.float16, trt.int32]


def test_fp32_is_told_nothing() -> None:
    set_flags(SimpleNamespace(), SimpleNamespace(), SimpleNamespace(), "fp32")


def test_fp32_step_with_the_scales_of_the_int8_step(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / bundle.name
    shutil.copytree(bundle, folder)
    step = onnx.load(folder / "step.fp16.onnx")
    products = quantised_products(step)
    amax = {name: 2.0 + index / 9 for index, name in enumerate(products)}
    kept = [name for name in products if name.startswith("layer3/")]
    int8 = quantised(step, amax, kept).SerializeToString()
    (folder / "step.int8.onnx").write_bytes(int8)
    manifest = read_bundle(folder)
    entry = manifest.step("fp16").model_copy(
        update={"file": "step.int8.onnx", "sha256": hashlib.sha256(int8).hexdigest()}
    )
    model = onnx.load_from_string(
        with_fp32_scales(folder, manifest.model_copy(update={"steps": {**manifest.steps, "int8": entry}}))
    )
    assert model.opset_import[0].version == 17
    assert all(each.data_type != onnx.TensorProto.FLOAT16 for each in model.graph.initializer)
    found = thresholds_of(model)
    assert found.keys() == products.keys() - set(kept)
    worst = max(abs(found[name] / amax[name] - 1) for name in found)
    print(f"thresholds within {worst:.1e}")
    assert worst <= 2**-11  # they went through FP16 scales
