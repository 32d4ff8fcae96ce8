"""A toy bundle with a calibration file whose thresholds are known by method."""

from pathlib import Path
from typing import Literal

from calibration.record import Activation, Calibration, DataEntry, calibration_path
from calibration.thresholds import METHODS
from export.placement import quantised_products
from runtime.bundle import read_bundle, write_manifest
from tests.calibration.conftest import toy_model, write_toy


def calibrated_toy(folder: Path, lookahead_ms: int = 80, weights: Literal["trained", "random"] = "trained") -> Path:
    """The toy bundle in `folder` with thresholds of 2 by entropy and 3 by every other method."""
    model = toy_model()
    write_toy(folder, model)
    bundle = read_bundle(folder)
    checkpoint = bundle.checkpoint.model_copy(update={"weights": weights})
    write_manifest(folder, bundle.model_copy(update={"checkpoint": checkpoint, "lookahead_ms": lookahead_ms}))
    amax = {method: 2.0 if method == "entropy" else 3.0 for method in METHODS}
    calibration = Calibration(
        calibrator="0" * 64,
        step_sha256=bundle.step("fp32").sha256,
        checkpoint_sha256=checkpoint.sha256,
        data=[DataEntry(name="noise_en", sha256="0" * 64, clips=1, minutes=1.0)],
        created="2026-01-01",
        steps=1,
        bins=1,
        methods=list(METHODS),
        products={
            name: Activation(tensor=tensor, samples=1, zeros=0, absolute_max=3.0, amax=amax)
            for name, tensor in quantised_products(model).items()
        },
    )
    calibration.write(calibration_path(folder))
    return folder
