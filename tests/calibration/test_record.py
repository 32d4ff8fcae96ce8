"""The calibration file: read back as written, and a one-line refusal of each kind of wrong file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calibration.record import Calibration, calibration_path, read_calibration
from runtime.bundle import read_bundle
from runtime.errors import InputError

ACTIVATION: dict[str, Any] = {"tensor": "start", "samples": 100, "zeros": 1, "absolute_max": 2.5}


@pytest.fixture
def content(toy: Path) -> dict[str, Any]:
    """A calibration file of the toy bundle."""
    bundle = read_bundle(toy)
    products = {"layer0/ffn1.in": ACTIVATION | {"amax": {"max": 2.5, "mse": 2.25}}}
    products["layer0/ffn1.out"] = ACTIVATION | {"amax": {"max": 0.1, "mse": 1 / 3}}
    return {
        "schema_version": 1,
        "calibrator": "2" * 64,
        "step_sha256": bundle.step("fp32").sha256,
        "checkpoint_sha256": bundle.checkpoint.sha256,
        "data": [{"name": "noise_en", "sha256": "3" * 64, "clips": 2, "minutes": 2.25}],
        "created": "2026-01-31",
        "steps": 800,
        "bins": 4096,
        "methods": ["max", "mse"],
        "products": products,
    }


def test_lies_in_the_bundle_and_reads_back(toy: Path, content: dict[str, Any]) -> None:
    path = calibration_path(toy)
    assert path == toy / "calibration.json"
    calibration = Calibration.model_validate(content)
    calibration.write(path)
    assert json.loads(path.read_text()) == content
    assert len(path.read_text().splitlines()) > 30  # readable
    assert read_calibration(path, read_bundle(toy)) == calibration
    assert calibration.amax("mse") == {"layer0/ffn1.in": 2.25, "layer0/ffn1.out": 1 / 3}
    with pytest.raises(InputError, match=r"^expected a calibration method out of max, mse, found entropy;"):
        calibration.amax("entropy")


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        pytest.param(["step_sha256"], "4" * 64, "of a step.fp32.onnx with sha256", id="another bundle's step"),
        pytest.param(["checkpoint_sha256"], "4" * 64, "of a checkpoint with sha256", id="another checkpoint"),
        pytest.param(
            ["schema_version"], 2, "is a calibration file of schema 2, this version reads 1", id="another schema"
        ),
        pytest.param(["extra"], 1, "extra: Extra inputs are not permitted", id="unknown key"),
        pytest.param(["data"], [], "data: List should have at least 1 item", id="no data"),
        pytest.param(["methods"], ["max"], "layer0/ffn1.in has the methods ['max', 'mse'], not ['max']", id="methods"),
        pytest.param(["products"], {}, "products: Dictionary should have at least 1 item", id="no products"),
        pytest.param(
            ["products", "layer0/ffn1.in", "amax", "mse"], 0.0, "amax.mse: Input should be greater than 0", id="zero"
        ),
        pytest.param(["products", "layer0/ffn1.in", "amax", "mse"], "1", "should be a valid number", id="text"),
        pytest.param(
            ["products", "layer0/ffn1.in", "samples"], -1, "samples: Input should be greater than 0", id="samples"
        ),
    ],
)
def test_wrong_file_is_refused(toy: Path, content: dict[str, Any], keys: list[str], value: object, says: str) -> None:
    changed: Any = content
    for key in keys[:-1]:
        changed = changed[key]
    changed[keys[-1]] = value
    path = calibration_path(toy)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        read_calibration(path, read_bundle(toy))
    print(error.value)
    assert says in str(error.value)
    assert str(error.value).endswith("make it again with `make calibrate`")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda _: None, "found none; make it with `make calibrate`", id="missing"),
        pytest.param(lambda path: path.write_text("{"), "Invalid JSON", id="broken"),
        pytest.param(lambda path: path.write_bytes(b"\xff"), "Invalid JSON", id="not UTF-8"),
        pytest.param(lambda path: path.mkdir(), "found none", id="a folder"),
    ],
)
def test_no_file_is_refused(toy: Path, make: Callable[[Path], object], says: str) -> None:
    path = calibration_path(toy)
    make(path)
    with pytest.raises(InputError) as error:
        read_calibration(path, read_bundle(toy))
    assert says in str(error.value)
    assert "\n" not in str(error.value)
