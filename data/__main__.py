"""`python -m data`: make manifests from a Common Voice release, and list the data sets that are there."""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from data import places
from data.common_voice import Selection, make_manifests
from data.manifest import ALLOWED, allowed, read_manifest
from runtime.arguments import Arguments
from runtime.errors import exit_code

USES = {"asr_eval": "evaluation", "asr_calib": "calibration", "sample": "sample"}
"""Folder -> what its data sets are for."""

HOW_TO = """To evaluate on Common Voice: download a release, unpack it, then
  make data COMMON_VOICE=FOLDER        (or: build/python -m data --common-voice FOLDER --lang en)
Own recordings: put manifest_LANG.jsonl in {root}/asr_eval/NAME/."""


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; the sizes' defaults are those of `Selection`."""
    parser = Arguments(prog="python -m data", description=__doc__)
    parser.add_argument("--common-voice", type=Path, metavar="DIR", help="an unpacked Common Voice release")
    parser.add_argument("--lang", default="en", help="language code, as Common Voice names its folder")
    parser.add_argument("--eval-clips", type=int, default=Selection.eval_clips, metavar="N")
    parser.add_argument("--calib-clips", type=int, default=Selection.calib_clips, metavar="N")
    parser.add_argument("--seed", type=int, default=Selection.seed, help="another seed takes other clips")
    parser.add_argument("--table", default=Selection.table, help="the release's table to choose from (%(default)s)")
    broken = "percent of a table's rows or a manifest's lines that may be broken, and are left out (%(default)g)"
    parser.add_argument("--allow", type=float, default=100 * ALLOWED, metavar="PERCENT", help=broken)
    where = "where the data sets lie (default: {}, and {} is listed too)".format(*places.PLACES)
    parser.add_argument("--out", type=Path, metavar="DIR", help=where)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Make the manifests if a release is given; list what there is. Raises InputError for a bad release or manifest."""
    console = Console()
    roots = [args.out] if args.out else [places.PLACES[0], *(folder for folder in places.PLACES[1:] if folder.is_dir())]
    if args.common_voice:
        selection = Selection(args.eval_clips, args.calib_clips, args.seed, args.table, allowed(args.allow))
        for manifest in make_manifests(args.common_voice, args.lang, roots[0], selection, left_out):
            console.print(f"wrote {manifest}", highlight=False, soft_wrap=True)
    for root in roots:
        console.print(table(root, allowed(args.allow)))
    if not args.common_voice:
        console.print(HOW_TO.format(root=roots[0]), highlight=False, soft_wrap=True)


def left_out(message: str) -> None:
    """Name what is left out, on standard error."""
    print(f"left out: {message}", file=sys.stderr)


def table(root: Path, allow: float) -> Table:
    """Return the data sets in the folders USES of `root`, a row a manifest. Raises InputError where more than a share is broken."""
    figures = [Column(heading, justify="right") for heading in ("clips", "minutes", "speakers")]
    listed = Table("use", "name", "language", *figures, title=f"Data sets in {root}")
    for folder, use in USES.items():
        for manifest in sorted(
            [*(root / folder).glob("manifest_*.jsonl"), *(root / folder).glob("*/manifest_*.jsonl")]
        ):
            utterances = read_manifest(manifest, allow=allow, say=left_out)
            listed.add_row(
                use,
                manifest.parent.resolve().name,
                ",".join(sorted({utterance.lang for utterance in utterances})),
                str(len(utterances)),
                f"{sum(utterance.duration for utterance in utterances) / 60:.1f}",
                str(len({utterance.speaker for utterance in utterances})),
            )
    return listed


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
