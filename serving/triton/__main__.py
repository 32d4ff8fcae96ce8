"""`python -m serving.triton`: a bundle to a Triton model repository."""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from runtime.arguments import Arguments
from runtime.bundle import Decoding, Precision
from runtime.errors import InputError, exit_code
from serving.triton.plan_repository import write_plan_repository
from serving.triton.repository import IDLE_S, Served, model_name, write_repository


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the generator."""
    parser = Arguments(prog="python -m serving.triton", description="Write a Triton model repository.")
    parser.add_argument("--bundle", type=Path, required=True, help="folder made by `make export`")
    parser.add_argument("--out", type=Path, default=Path("build/triton"), help="default: build/triton")
    parser.add_argument("--precision", choices=get_args(Precision), help="default: the backend's usual one")
    parser.add_argument("--backend", help="as the recogniser's (default: TensorRT where there is a GPU)")
    parser.add_argument("--streams", type=int, default=Served.max_streams, help="conversations at once (default: 64)")
    parser.add_argument(
        "--idle-s",
        type=float,
        default=IDLE_S,
        help=f"seconds without a request that end a sequence (default: {IDLE_S:g})",
    )
    parser.add_argument(
        "--lm", choices=("default", "none"), default="default", help="default: the bundle's own, if any"
    )
    parser.add_argument("--decoder", choices=get_args(Decoding), help="default: ctc where the bundle has it")
    parser.add_argument(
        "--plan", action="store_true", help="instead the plan itself, its state kept by Triton: one stream, greedy"
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Write the repository."""
    if args.plan:
        if args.decoder == "rnnt":
            raise InputError("expected the decoder ctc with --plan, found rnnt; leave one of them out")
        pool = write_plan_repository(args.bundle, args.precision or "fp16", args.out)
        options = f" --cuda-memory-pool-byte-size=0:{pool}"
        print(f"serving: wrote {args.out}; serve it with `tritonserver --model-repository={args.out}{options}`")
        return
    served = Served(args.streams, args.idle_s, args.precision, args.backend, args.lm, args.decoder)
    write_repository(args.bundle, served, args.out)
    print(
        f"serving: wrote {args.out} with the model {model_name(args.bundle)}; serve it with `tritonserver --model-repository={args.out}`"
    )


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
