"""`python -m engines`: a bundle's graphs to TensorRT plans for this GPU, or for Turing with no GPU."""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from runtime.arguments import Arguments
from runtime.backends.sizes import BUILT, sizes_of
from runtime.bundle import Graph, Precision, read_bundle
from runtime.errors import exit_code


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the builder."""
    parser = Arguments(prog="python -m engines", description="Build a TensorRT plan from a bundle.")
    parser.add_argument("--bundle", type=Path, required=True, help="folder made by `make export`")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp16", help="default: fp16")
    parser.add_argument(
        "--for",
        dest="build_for",
        choices=["this-gpu", "sm75"],
        default="this-gpu",
        help="sm75: for Turing (T4), by TensorRT-RTX, on a machine with no GPU (default: this-gpu)",
    )
    parser.add_argument(
        "--level", type=int, choices=range(6), default=3, help="optimisation level, 0 builds fastest (default: 3)"
    )
    parser.add_argument(
        "--no-cublas", action="store_true", help="the cuBLAS and cuDNN installed are stubs: use TensorRT's own kernels"
    )
    parser.add_argument(
        "--products",
        choices=["matrix", "sum"],
        help="those of one or two rows as matrix products or as sums (default: sum with TensorRT 8.6, matrix with others)",
    )
    parser.add_argument(
        "--batch",
        nargs="?",
        const=BUILT,
        metavar="SIZES",
        help=f"also the step over many streams, of a bundle made with `make export BATCH=1`, for so many (default: {BUILT})",
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Build the graphs asked for, each unless its plan is there already: whole, of this bundle, with these options."""
    from engines.build import BuildOptions, PlanBuild, Products
    from engines.target import this_gpu, turing_without_gpu
    from runtime.files import alone

    target = turing_without_gpu(args.precision) if args.build_for == "sm75" else this_gpu()
    products: Products = args.products or ("matrix" if target.strongly_typed else "sum")
    options = BuildOptions(level=args.level, cublas=not args.no_cublas, products=products)
    graphs: list[Graph] = ["step", "rnnt"] if read_bundle(args.bundle).rnnt else ["step"]
    builds = [PlanBuild(args.bundle, args.precision, target, options, graph) for graph in graphs]
    if args.batch:
        many = replace(options, products="matrix")  # sums are for few rows
        builds.append(PlanBuild(args.bundle, args.precision, target, many, "batched", sizes=sizes_of(args.batch)))
    for build in builds:
        with alone(build.plan.parent):
            if build.is_current():
                print(f"engines: {build.plan} is up to date")
                continue
            stamp = build.run()
        print(
            f"engines: wrote {build.plan}: {build.plan.stat().st_size / 1e6:.0f} MB in {stamp.build_s:.0f} s, "
            f"TensorRT {stamp.tensorrt}, {stamp.gpu}"
        )


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
