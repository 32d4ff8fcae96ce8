import io
import json
from typing import Any

import pytest
from rich.console import Console

from engines.inspect import Layer, layer_table, read_layers
from runtime.errors import InputError


def _layer(name: str, kind: str, outputs: list[str], key: str = "Format/Datatype", **more: object) -> dict[str, Any]:
    described = [{"Name": f"{name}:{i}", "Dimensions": [1, 2], key: each} for i, each in enumerate(outputs)]
    return {"Name": name, "LayerType": kind, "Inputs": [], "Outputs": described, "TacticValue": "0x0", **more}


def _weights(kind: str, count: int) -> dict[str, Any]:
    return {"Type": kind, "Count": count}


# As 8.6 and as 10 and later describe the same layers.
OLD, NEW = (
    [
        _layer("spectrum", "CaskConvolution", [fp32], key, Weights=_weights("Float", 500), Bias=_weights("Float", 5)),
        _layer("ffn1.in", "CaskGemm", [fp16], key, Weights=_weights("Half", 1000), Bias=_weights("Half", 10)),
        _layer("copy", "Reformat", [fp32], key, Weights=_weights("Float", 0)),
        _layer("{ForeignNode[a...b]}", "Myelin", [fp16, fp32], key),
        _layer("best", "TopK", [int32], key),
        _layer("signal", "Signal", [], key),
    ]
    for fp32, fp16, int32, key in (
        ("Row major linear FP32", "Row major linear FP16 format", "Row major Int32 format", "Format/Datatype"),
        ("Float", "Half", "Int32", "Datatype"),
    )
)
EXPECTED = [
    Layer("spectrum", "CaskConvolution", "fp32", 2020),
    Layer("ffn1.in", "CaskGemm", "fp16", 2020),
    Layer("copy", "Reformat", "fp32", 0),
    Layer("{ForeignNode[a...b]}", "Myelin", "fp16+fp32", 0),
    Layer("best", "TopK", "int32", 0),
    Layer("signal", "Signal", "none", 0),
]


@pytest.mark.parametrize("layers", [OLD, NEW])
def test_layers_of_the_inspector(layers: list[dict[str, Any]]) -> None:
    assert read_layers(json.dumps({"Layers": layers, "Bindings": ["audio"]})) == EXPECTED


def test_raw_control_characters_as_8_6_writes_them() -> None:
    text = json.dumps({"Layers": [_layer("one two", "NoOp", [])]}).replace("one two", "one\x1f\ttwo")
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


def test_table() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(layer_table([*EXPECTED, Layer("ffn1.out", "CaskGemm", "fp16", 3_000_000)]))
    rows = [
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")]
        for line in console.export_text().splitlines()
    ]
    assert ["type", "fp16", "fp16+fp32", "fp32", "int32", "none", "layers", "weights MB"] in rows
    assert ["CaskGemm", "2", "", "", "", "", "2", "3.0"] in rows
    assert ["all", "2", "1", "2", "1", "1", "7", "3.0"] in rows
