"""A bundle with an INT8 step of another method's thresholds, beside the user's, which stays as it is."""

from collections.abc import Iterable
from pathlib import Path

from runtime.bundle import read_bundle
from runtime.errors import InputError
from runtime.files import carry, written_whole

COPIES = Path("build/ablation")


def check_methods(methods: Iterable[str]) -> None:
    """Raise InputError for a method that thresholds are not found by."""
    from calibration.thresholds import METHODS  # calibration needs onnx, and the bench's other commands do not

    if unknown := [each for each in methods if each not in METHODS]:
        raise InputError(f"--methods: expected some of {', '.join(METHODS)}, found {unknown[0]!r}")


def int8_copy(source: Path, method: str) -> Path:
    """Make the copy of the bundle in `source` with thresholds of `method` from its calibration file; return its folder.

    Products that the bundle's own INT8 step leaves in FP16 stay in FP16 here.

    Raises:
        InputError: the bundle is broken, or its calibration file missing, of another bundle or without that method.
    """
    from calibration.record import calibration_path, read_calibration
    from calibration.step import add_int8

    bundle = read_bundle(source)
    read_calibration(calibration_path(source), bundle).amax(method)
    folder = COPIES / f"{source.absolute().name}-{method}"
    with written_whole(folder) as partial:
        partial.mkdir()
        carry(folder / "plans", partial / "plans")  # an earlier copy's, of this method
        for each in source.iterdir():
            if each.name != "plans":
                carry(each, partial / each.name)
    add_int8(folder, method, bundle.quantisation.kept if bundle.quantisation else ())
    return folder
