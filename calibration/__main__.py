"""`python -m calibration`: calibration speech through a bundle's widest step, to thresholds of activations and the INT8 step."""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import resource
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from calibration.calibrate import calibrate, is_current
from calibration.compare import check_reference
from calibration.record import calibration_path
from calibration.search import current, print_search, search, search_path
from calibration.speech import Selection, check_levels, default_folder, evaluation_folders, select, speech_arguments
from calibration.step import INT8_STEP, add_int8, is_added
from calibration.thresholds import METHODS
from runtime.bundle import Bundle, read_bundle
from runtime.errors import exit_code
from runtime.files import alone, check_room


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line of the calibration."""
    parser = speech_arguments(prog="python -m calibration", description=__doc__)
    parser.add_argument("--method", choices=METHODS, default="mse", help="of the INT8 step (default: mse)")
    kept = "products that INT8 leaves in FP16: none (the default), or those that a sensitivity search asks for"
    parser.add_argument("--keep", choices=("none", "search"), default="none", help=kept)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Make the calibration file and the INT8 step unless they are there already, of this bundle, speech, method and search."""
    bundle = read_bundle(args.bundle)
    with alone(args.bundle.absolute().parent):  # as `export`, which replaces the bundle
        _run(args, bundle)


def _run(args: argparse.Namespace, bundle: Bundle) -> None:
    if args.keep == "search":
        bundle.check_ctc("--keep search")
        check_reference(bundle, "--keep search")
    selection = make_calibration(args)
    kept: tuple[str, ...] = ()
    if args.keep == "search":
        started = time.perf_counter()
        found = current(args.bundle, args.method)
        if found:
            print(f"calibration: {search_path(args.bundle)} is up to date")
        else:
            check_room(search_path(args.bundle))
            found = search(args.bundle, selection, args.lang, args.method)
            print(f"calibration: wrote {search_path(args.bundle)} in {time.perf_counter() - started:.0f} s")
        print_search(found, Console(width=None if sys.stdout.isatty() else 120))
        kept = found.kept
    how = f"{args.method} with {len(kept)} products in FP16" if kept else args.method
    if is_added(args.bundle, args.method, kept):
        print(f"calibration: the bundle's INT8 step, by {how}, is up to date")
        return
    step = add_int8(args.bundle, args.method, kept)
    print(f"calibration: wrote {args.bundle / step.file} by {how}: {step.bytes / 1e6:.1f} MB")


def make_calibration(args: argparse.Namespace) -> Selection:
    """Write the calibration file unless it is current; return the speech that it is of."""
    started = time.perf_counter()
    bundle = read_bundle(args.bundle)
    evaluation = evaluation_folders(args.eval)
    selection = select(args.data or default_folder(), args.lang, args.minutes, evaluation, bundle.sample_rate)
    path = calibration_path(args.bundle)
    if is_current(path, bundle, selection):
        print(f"calibration: {path} is up to date")
        return selection
    check_room(args.bundle / INT8_STEP, bundle.steps[bundle.widest].bytes)
    if selection.unnamed:
        print(
            f"calibration: {selection.unnamed} of {len(selection.utterances)} clips name no speaker; their sentences and recordings are "
            f"not in the evaluation speech"
        )
    check_levels(selection, bundle.sample_rate)
    calibration = calibrate(args.bundle, selection, args.lang)
    calibration.write(path)
    minutes = sum(data.minutes for data in calibration.data)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB
    print(
        f"calibration: wrote {path}: {len(calibration.products)} products by {len(calibration.methods)} methods from {minutes:.1f} minutes "
        f"({calibration.steps} steps) in {time.perf_counter() - started:.0f} s, peak memory {peak_mb:.0f} MB"
    )
    return selection


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
