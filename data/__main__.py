"""`python -m data`: make manifests from a Common Voice release, and list the data sets that are there."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from data.common_voice import Selection, make_manifests
from data.inventory import data_sets, table
from runtime.errors import exit_code

HOW_TO = """To evaluate on Common Voice: download a release, unpack it, then
  make data COMMON_VOICE=FOLDER        (or: python -m data --common-voice FOLDER --lang en)
Own recordings: put manifest_LANG.jsonl in {root}/asr_eval/NAME/."""


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; the sizes' defaults are those of `Selection`."""
    parser = argparse.ArgumentParser(prog="python -m data", description=__doc__)
    parser.add_argument("--common-voice", type=Path, metavar="DIR", help="an unpacked Common Voice release")
    parser.add_argument("--lang", default="en", help="language code, as Common Voice names its folder")
    parser.add_argument("--eval-clips", type=int, default=Selection.eval_clips, metavar="N")
    parser.add_argument("--calib-clips", type=int, default=Selection.calib_clips, metavar="N")
    parser.add_argument("--seed", type=int, default=Selection.seed, help="another seed takes other clips")
    parser.add_argument("--table", default=Selection.table, help="the release's table to choose from (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("data"), metavar="DIR", help="where the data sets lie")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Make the manifests if a release is given; list what there is. Raises InputError for a bad release or manifest."""
    console = Console()
    if args.common_voice:
        selection = Selection(args.eval_clips, args.calib_clips, args.seed, args.table)
        for manifest in make_manifests(args.common_voice, args.lang, args.out, selection):
            console.print(f"wrote {manifest}", highlight=False, soft_wrap=True)
    console.print(table(data_sets(args.out)))
    if not args.common_voice:
        console.print(HOW_TO.format(root=args.out), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
