"""What TensorRT 8.6 is told of step.fp16.onnx: the front end stays FP32, the rest is the builder's."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engines.precision import hold_front_end
from engines.progress import make_logger

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
    hold_front_end(module, SimpleNamespace(set_flag=flags.append), network)
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
