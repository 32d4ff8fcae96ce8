"""`python -m calibration`: calibration speech through a bundle's FP32 step, to thresholds of activations and the INT8 step."""

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from calibration.thresholds import METHODS
from runtime.errors import exit_code


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the calibration."""
    parser = argparse.ArgumentParser(prog="python -m calibration", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="folder made by `make export`")
    parser.add_argument("--data", type=Path, metavar="DIR", help="calibration sets (default: data/asr_calib)")
    parser.add_argument("--lang", default="en", help="language code of the manifests (default: en)")
    parser.add_argument("--minutes", type=float, metavar="M", help="the first M minutes only (default: all)")
    parser.add_argument(
        "--eval", type=Path, metavar="DIR", help="evaluation sets to keep out, beside data/asr_eval and data/sample"
    )
    parser.add_argument("--method", choices=METHODS, default="entropy", help="of the INT8 step (default: entropy)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Make the calibration file and the INT8 step unless they are there already, of this bundle, speech and method."""
    from calibration.step import add_int8, is_current

    make_calibration(args)
    if is_current(args.bundle, args.method, ()):
        print(f"calibration: the bundle's INT8 step, by {args.method}, is up to date")
        return
    step = add_int8(args.bundle, args.method)
    print(f"calibration: wrote {args.bundle / step.file} by {args.method}: {step.bytes / 1e6:.1f} MB")


def make_calibration(args: argparse.Namespace) -> None:
    """Write the calibration file unless it is current."""
    from calibration.calibrate import calibrate, is_current
    from calibration.record import calibration_path, write_calibration
    from calibration.speech import check_levels, default_folder, evaluation_folders, select
    from runtime.bundle import read_bundle

    started = time.perf_counter()
    bundle = read_bundle(args.bundle)
    evaluation = evaluation_folders(args.eval)
    selection = select(args.data or default_folder(), args.lang, args.minutes, evaluation, bundle.sample_rate)
    path = calibration_path(args.bundle)
    if is_current(path, bundle, selection):
        print(f"calibration: {path} is up to date")
        return
    if selection.unnamed:
        print(
            f"calibration: {selection.unnamed} of {len(selection.utterances)} clips name no speaker; their sentences and recordings are "
            f"not in the evaluation speech"
        )
    check_levels(selection, bundle.sample_rate)
    calibration = calibrate(args.bundle, selection)
    write_calibration(path, calibration)
    minutes = sum(each.minutes for each in calibration.data)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB
    print(
        f"calibration: wrote {path}: {len(calibration.products)} products by {len(calibration.methods)} methods from {minutes:.1f} minutes "
        f"({calibration.steps} steps) in {time.perf_counter() - started:.0f} s, peak memory {peak_mb:.0f} MB"
    )


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
