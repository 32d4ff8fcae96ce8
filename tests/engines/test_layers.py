import json
from typing import Any

import pytest

from engines.layers import Layer, read_layers
from runtime.errors import InputError


def _layer(name: str, kind: str, inputs: list[str], outputs: list[str], key: str, **more: object) -> dict[str, Any]:
    def described(types: list[str]) -> list[dict[str, Any]]:
        return [{"Name": f"{name}:{i}", "Dimensions": [1, 2], key: each} for i, each in enumerate(types)]

    sides = {"Inputs": described(inputs), "Outputs": described(outputs)}
    return {"Name": name, "LayerType": kind, **sides, "TacticValue": "0x0", **more}


def _weights(kind: str, count: int) -> dict[str, Any]:
    return {"Type": kind, "Count": count}


# As 8.6 and as 11 describe the same layers.
OLD, NEW = (
    [
        _layer(
            "spec", "CaskConvolution", [fp32], [fp32], key, Weights=_weights("Float", 500), Bias=_weights("Float", 5)
        ),
        _layer(
            "in", "CaskConvolution", [int8], [fp16], key, Weights=_weights("Int8", 1000), Bias=_weights("Float", 10)
        ),
        _layer("copy", "Reformat", [fp32], [int8], key, Weights=_weights("Float", 0)),
        _layer("{ForeignNode[a...b]}", "Myelin", [int8], [fp16, fp32], key),
        _layer("best", "TopK", [fp32], [int32], key),
        _layer("mask", "ElementWise", [int32], [boolean], key),
        _layer("signal", "Signal", [], [], key),
    ]
    for fp32, fp16, int8, int32, boolean, key in (
        (
            "Row major linear FP32",
            "Channel major FP16 format where channel % 4 == 0",
            "Thirty-two wide channel vectorized row major Int8 format",
            "Row major linear Int32",
            "Row major linear BOOL",
            "Format/Datatype",
        ),
        ("Float", "Half", "Int8", "Int32", "Bool", "Datatype"),
    )
)
EXPECTED = [
    Layer("spec", "CaskConvolution", "fp32", 2020),
    Layer("in", "CaskConvolution", "int8", 1040),
    Layer("copy", "Reformat", "int8", 0),
    Layer("{ForeignNode[a...b]}", "Myelin", "fp16+fp32", 0),
    Layer("best", "TopK", "int32", 0),
    Layer("mask", "ElementWise", "bool", 0),
    Layer("signal", "Signal", "none", 0),
]


@pytest.mark.parametrize("layers", [OLD, NEW])
def test_layers_of_the_inspector(layers: list[dict[str, Any]]) -> None:
    assert read_layers(json.dumps({"Layers": layers, "Bindings": ["audio"]})) == EXPECTED


@pytest.mark.parametrize(
    ("kind", "tactic", "inputs", "outputs", "precision"),
    [
        ("gemm", "sm80_xmma_gemm_i8i8_i8i32_f32", ["Int8", "Int8", "Float"], ["Half"], "int8"),
        ("gemm", "sm80_xmma_gemm_f16f16_f16f32_f32", ["Half", "Half", "Float"], ["Float"], "fp16"),
        ("gemm", "", ["Float", "Float"], ["Half"], "fp32"),
        ("fusion", "sm80_xmma_gemm_i8f16_i8i32_f32", ["Half", "Int8", "Int8"], ["Half"], "int8"),
        ("kgen", "_gemm_mha_v2_0xbcebb264", ["Half", "Half", "Bool"], ["Half"], "fp16"),
        ("MatrixMultiply", "", ["Row major linear FP16 format"] * 2, ["Row major linear FP32"], "fp16"),
        ("CaskGemmMatrixMultiply", "", [], ["Row major linear FP16 format"], "fp16"),
        ("kgen", "__myl_CastMulAdd_0x12", ["Int8", "Half"], ["Half"], "fp16"),  # dequantises
        ("kgen", "__myl_MeanSubMulAddQuan_0x12", ["Float"], ["Int8"], "int8"),  # quantises
        ("Reformat", "convert_int8", ["Int8"], ["Half"], "fp16"),
    ],
)
def test_precision_of_layers_without_weights(
    kind: str, tactic: str, inputs: list[str], outputs: list[str], precision: str
) -> None:
    entry = _layer("a", kind, inputs, outputs, "Format/Datatype", TacticName=tactic)
    assert read_layers(json.dumps({"Layers": [entry]})) == [Layer("a", kind, precision, 0, tactic=tactic)]


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ({}, ()),
        ({"Metadata": ""}, ()),
        ({"Metadata": "[ONNX Layer: layer0/ffn1.in]"}, ("layer0/ffn1.in",)),
        ({"Metadata": "[ONNX Layer: a]\x1f[ONNX Layer: b.c]\x1e[ONNX Layer: a]"}, ("a", "b.c")),
    ],
)
def test_onnx_names(metadata: dict[str, str], names: tuple[str, ...]) -> None:
    entry = _layer("a", "kgen", [], [], "Datatype", **metadata)
    assert read_layers(json.dumps({"Layers": [entry]}))[0].onnx_names == names


def test_raw_control_characters_as_8_6_writes_them() -> None:
    text = json.dumps({"Layers": [_layer("one two", "NoOp", [], [], "Datatype")]}).replace("one two", "one\x1f\ttwo")
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    assert read_layers(text)[0].name == "one\x1f\ttwo"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the engine inspector's JSON, found ''"),
        ("not JSON", "the engine inspector's JSON, found 'not JSON'"),
        ("[]", r"the engine inspector's JSON, found '\[\]'"),
        ('{"Bindings": []}', "the engine inspector's JSON"),
        ('{"Layers": ["a", "b"]}', "detailed layers, found their names only"),
    ],
)
def test_what_is_not_the_inspectors(text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read_layers(text)
