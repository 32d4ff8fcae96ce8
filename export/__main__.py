"""`python -m export`: a streaming checkpoint to a bundle."""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.arguments import Arguments
from runtime.bundle import read_bundle
from runtime.errors import exit_code

LEAST_BYTES = 64 << 20
"""Of a bundle; the embedded checkpoint's has 87 MB."""


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the exporter."""
    parser = Arguments(prog="python -m export", description="Export a streaming FastConformer checkpoint to a bundle.")
    parser.add_argument(
        "--model",
        required=True,
        help=".nemo file, a published checkpoint's name, or large-random or multilingual-random",
    )
    parser.add_argument(
        "--lookahead", type=int, default=80, metavar="MS", help="look-ahead in ms, one the checkpoint was trained for"
    )
    parser.add_argument(
        "--language",
        metavar="CODE",
        help="what streams hear unless they ask for another, such as de, and nothing else where the checkpoint is told no language "
        "(default: the bundle's so far, else auto where the checkpoint has it, else en)",
    )
    parser.add_argument(
        "--lm",
        metavar="FILE|default|none",
        help="KenLM file that the bundle carries from now on; default: CHECKPOINT.NAME.kenlm beside the checkpoint, if any, which a new "
        "bundle gets unasked",
    )
    parser.add_argument(
        "--batch", action="store_true", help="also the step over many streams, which makes the bundle twice as large"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/bundles"), help="folder of bundles (default: build/bundles)"
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Export unless the bundle is there already, made by this exporter from this checkpoint."""
    from export.bundle import bundle_folder, export_bundle, is_current
    from export.checkpoint import check_choice
    from runtime.files import alone, check_room

    check_choice(args.model, args.lookahead, args.language)
    folder = bundle_folder(args.out, args.model, args.lookahead)
    wanted = {"lm": args.lm, "language": args.language, "batched": args.batch}
    if not is_current(folder, args.model, **wanted):
        check_room(folder, LEAST_BYTES)
        with alone(args.out):
            if not is_current(folder, args.model, **wanted):  # another process made it meanwhile
                made = export_bundle(args.model, args.lookahead, args.out, **wanted)
                print(f"export: wrote {made}")
                return
    carried = read_bundle(folder).language_model
    print(
        f"export: {folder} is up to date, with {f'the language model {carried.name}' if carried else 'no language model'}"
    )


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
