"""The calibration file: thresholds by matrix product and method, stamped with the step that they belong to."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from runtime.bundle import Bundle
from runtime.entries import Hash, Positive, Strict
from runtime.errors import InputError

Threshold = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class DataEntry(Strict):
    """A data set and how much of it was streamed."""

    name: str
    """Folder and language, such as common_voice_en."""
    sha256: Hash
    """Of the manifest and all its audio."""
    clips: Positive
    """Streamed."""
    minutes: Annotated[float, Field(gt=0)]
    """Streamed, silence between clips not counted."""


class Activation(Strict):
    """What one matrix product read, in the units of the activation."""

    tensor: str
    """In the widest step."""
    samples: Positive
    """Values seen."""
    zeros: Count
    """Of them exactly 0."""
    absolute_max: Threshold
    amax: dict[str, Threshold]
    """Threshold by method; a symmetric 8-bit scale is a 127th of it."""


class Calibration(Strict):
    """A bundle's thresholds and what they come from."""

    schema_version: Literal[1] = 1
    calibrator: Hash
    """Hash of the sources that made it."""
    step_sha256: Hash
    """Of the bundle's widest step."""
    checkpoint_sha256: Hash
    data: Annotated[list[DataEntry], Field(min_length=1)]
    created: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    """ISO date, UTC."""
    steps: Positive
    """Steps streamed."""
    bins: Positive
    """Of each histogram, over 0 to the power of two above the largest magnitude."""
    methods: list[str]
    products: Annotated[dict[str, Activation], Field(min_length=1)]
    """By the matrix product's name, such as layer0/ffn1.in."""

    @model_validator(mode="after")
    def _complete(self) -> "Calibration":
        for name, activation in self.products.items():
            if set(activation.amax) != set(self.methods):
                raise ValueError(f"{name} has the methods {list(activation.amax)}, not {self.methods}")
        return self

    def amax(self, method: str) -> dict[str, float]:
        """Return the threshold by matrix product. Raises InputError for a method that the file lacks."""
        if method not in self.methods:
            raise InputError(
                f"expected a calibration method out of {', '.join(self.methods)}, found {method}; choose one of them"
            )
        return {name: activation.amax[method] for name, activation in self.products.items()}


def calibration_path(bundle_folder: Path) -> Path:
    """Return where a bundle's calibration file lies."""
    return bundle_folder / "calibration.json"


def read_calibration(path: Path, bundle: Bundle) -> Calibration:
    """Read and check a calibration file; raises InputError where it is missing, broken or of another bundle."""
    calibration = Calibration.read(path, "a calibration file", "`make calibrate`")
    expectations = [
        (f"a step.{bundle.widest}.onnx", bundle.step(bundle.widest).sha256, calibration.step_sha256),
        ("a checkpoint", bundle.checkpoint.sha256, calibration.checkpoint_sha256),
    ]
    for what, expected, found in expectations:
        if expected != found:
            raise InputError(
                f"expected {path} to be of {what} with sha256 {expected[:12]}..., found {found[:12]}...: it is another bundle's; "
                f"make it again with `make calibrate`"
            )
    return calibration
