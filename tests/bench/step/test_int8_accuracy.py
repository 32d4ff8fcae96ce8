"""The accuracy report: an untouched step is FP32 itself, a touched one is measured as numpy measures it."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console

from bench.pages.report_tables import accuracy_tables
from bench.results import read_results
from bench.step.int8_accuracy import MARKS, AccuracyReport, Options, drift, layer_outputs, report, run, stream_steps
from calibration.compare import StepError
from calibration.record import Activation, Calibration, calibration_path
from calibration.step import add_int8
from calibration.thresholds import METHODS
from export.placement import quantised_products
from export.quantise import quantised
from runtime.bundle import read_bundle
from runtime.errors import InputError

EXACT, CLIPPED, SENSITIVE = 127.0, 1.5, "layer1/conv.in"


@pytest.fixture
def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.choice([-1.0, 0.0, 1.0], 7000, p=[0.001, 0.998, 0.001]).astype(np.float32) for _ in range(3)]


@pytest.fixture
def shown(model: onnx.ModelProto) -> onnx.ModelProto:
    """The toy with its layers' outputs under the exporter's names."""
    for layer in range(2):
        name = f"layer{layer}/norm_out"
        model.graph.node.append(helper.make_node("Identity", [f"layer{layer}/ffn2.out"], [name], name=name))
    return model


def calibrated(folder: Path, model: onnx.ModelProto, amax: dict[str, float]) -> None:
    """A calibration file whose method max clips nothing, and every other one as `amax` says."""
    bundle = read_bundle(folder)
    products = {
        name: Activation(
            tensor=tensor,
            samples=1,
            zeros=0,
            absolute_max=EXACT,
            amax={method: EXACT if method == "max" else amax[name] for method in METHODS},
        )
        for name, tensor in quantised_products(model).items()
    }
    data = [{"name": "noise_en", "sha256": "2" * 64, "clips": 1, "minutes": 1.0}]
    entry = {"calibrator": "3" * 64, "step_sha256": bundle.step("fp32").sha256, "data": data, "steps": 1, "bins": 4096}
    entry |= {"checkpoint_sha256": bundle.checkpoint.sha256, "created": "2026-01-01", "methods": list(METHODS)}
    calibration = Calibration.model_validate(entry | {"products": products})
    calibration.write(calibration_path(folder))


def test_report(
    tmp_path: Path,
    shown: onnx.ModelProto,
    rewrite: Callable[[Path, onnx.ModelProto], Path],
    clips: list[np.ndarray],
) -> None:
    folder = rewrite(tmp_path / "bundles" / "toy", shown)
    calibrated(folder, shown, dict.fromkeys(quantised_products(shown), EXACT) | {SENSITIVE: CLIPPED})
    add_int8(folder, "entropy", [SENSITIVE])
    found = report(folder, clips, [])
    assert [(each.method, each.kept) for each in found.rows] == [
        *((each, ()) for each in METHODS),
        ("entropy", (SENSITIVE,)),
    ]
    for each in found.rows:
        print(each)
        clipped = each.method != "max" and not each.kept
        assert each.layers["layer0"].least == pytest.approx(1.0)
        assert (each.layers["layer1"].least < 0.99) == clipped
        assert (each.encoded, list(each.layers)) == (each.layers["layer1"], ["layer0", "layer1"])
        assert (each.log_probs.rms > 0.01) == clipped
        assert [*each.drift] == [*MARKS]
        for at in each.drift.values():
            assert (at.kv_cache, at.time_cache) == (0.0, 0.0)  # the toy's states come before its layers
    assert found.minutes == round(21_000 / 16_000 / 60, 3)
    assert json.loads(found.model_dump_json())["rows"][0]["drift"]["1000"]["kv_cache"] == 0.0


def test_drift_of_states_against_numpy(toy: Path, model: onnx.ModelProto, clips: list[np.ndarray]) -> None:
    """A toy whose state moves by a constant at each step, beside the toy: after n steps they are n or no constants apart."""
    bundle, audio = read_bundle(toy), np.concatenate(clips)
    plain = stream_steps(model, bundle, audio)
    altered = onnx.ModelProto()
    altered.CopyFrom(model)
    node = next(each for each in altered.graph.node if "next_time_cache" in each.output)
    node.op_type = "Add"
    node.input.append("step")
    altered.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 4), np.float32), "step"))
    moved = stream_steps(altered, bundle, audio)
    heard = np.resize(audio, MARKS[-1] * bundle.chunk_samples).reshape(MARKS[-1], -1)  # the toy's window is its chunk
    front = next(onnx.numpy_helper.to_array(each) for each in model.graph.initializer if each.name == "front")
    state = np.zeros(4)
    for step in range(MARKS[-1]):
        state = (heard[step].reshape(2, -1) @ front).sum(0) - state
        if step + 1 in MARKS:
            assert np.array_equal(plain[1][step + 1]["kv_cache"][0], state), f"after {step + 1} steps"
    found = drift(moved, plain, bundle.chunk_frames)
    for steps, at in found.items():
        assert at.encoded.least == pytest.approx(1.0)
        assert at.log_probs == StepError(0.0, 0.0)
        assert at.kv_cache == 0.0
        assert at.time_cache == 2.0 * steps  # over a state of zeros: the difference itself, four numbers of `steps`


def test_outputs_of_the_exported_step(bundle: Path) -> None:
    step = onnx.load(bundle / "step.fp32.onnx")
    outputs = layer_outputs(step)
    assert [*outputs] == [f"layer{layer}" for layer in range(len(quantised_products(step)) // 8)]
    model = quantised(step, dict.fromkeys(quantised_products(step), 6.0))
    assert layer_outputs(model) == outputs
    inferred = {each.name: each.type.tensor_type for each in onnx.shape_inference.infer_shapes(model).graph.value_info}
    assert {inferred[tensor].elem_type for tensor in outputs.values()} == {TensorProto.FLOAT}


def test_command(toy: Path, tmp_path: Path, model: onnx.ModelProto, make_set: Callable[..., Path]) -> None:
    speech, results = make_set(tmp_path / "asr_calib", [{"seconds": 121}]), tmp_path / "results"
    options, argv = Options(bundle=toy, data=speech, out=results), ["int8", "--bundle", "toy"]
    with pytest.raises(InputError, match="expected a calibration file at "):
        run(options, argv, Console(file=io.StringIO()))
    assert not results.exists()
    calibrated(toy, model, dict.fromkeys(quantised_products(model), EXACT))
    written = run(options, argv, Console(file=io.StringIO()))
    assert written.path == results / "int8" / f"{toy.name}.json"
    found = read_results(results, AccuracyReport)[toy.name]
    assert found == written.result
    assert [setting.method for setting in found.rows] == [*METHODS]
    assert found.minutes == round(121 / 60, 3)
    assert found.provenance.command == "python -m bench int8 --bundle toy"
    layers, drifted = accuracy_tables(found)
    assert ["encoded", *(f"{setting.encoded.mean:.4f}" for setting in found.rows)] in layers.rows
    assert len(drifted.rows) == len(MARKS) * len(METHODS)
    (results / "int8" / "broken.json").write_text("{}")
    with pytest.raises(InputError, match=r"broken\.json: no accuracy report of schema 1"):
        read_results(results, AccuracyReport)


def test_published_reports_are_read() -> None:
    (found,) = read_results(Path("bench/results"), AccuracyReport).values()
    assert [setting.method for setting in found.rows[: len(METHODS)]] == [*METHODS]
