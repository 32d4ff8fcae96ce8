"""`python -m serving`: a bundle and its plan to a Triton model repository."""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from runtime.arguments import Arguments
from runtime.bundle import Precision
from runtime.errors import exit_code
from serving.repository import write_repository


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the generator."""
    parser = Arguments(prog="python -m serving", description="Write a Triton model repository.")
    parser.add_argument("--bundle", type=Path, required=True, help="folder made by `make export`")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp16", help="default: fp16")
    parser.add_argument("--out", type=Path, default=Path("build/triton"), help="default: build/triton")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Write the repository."""
    write_repository(args.bundle, args.precision, args.out)
    print(f"serving: wrote {args.out}; serve it with `tritonserver --model-repository={args.out}`")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
