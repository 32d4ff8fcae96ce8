"""`python -m engines`: a bundle's step to a TensorRT plan for this GPU, or for Turing with no GPU."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from runtime.bundle import Graph, Precision
from runtime.errors import exit_code


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the builder."""
    parser = argparse.ArgumentParser(prog="python -m engines", description="Build a TensorRT plan from a bundle.")
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
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Build the step, and a transducer's evaluation, unless its plan is there already: whole, of this bundle, with these options."""
    from engines.build import BuildOptions, Products, build_plan, is_current
    from engines.target import this_gpu, turing_without_gpu
    from engines.versions import strongly_typed
    from runtime.bundle import read_bundle
    from runtime.stamp import plan_path, read_stamp

    target = turing_without_gpu(args.precision) if args.build_for == "sm75" else this_gpu()
    products: Products = args.products or ("matrix" if strongly_typed(target.trt) else "sum")
    options = BuildOptions(level=args.level, cublas=not args.no_cublas, products=products)
    bundle = read_bundle(args.bundle)
    graphs: list[Graph] = ["step", "rnnt"] if bundle.rnnt else ["step"]
    for graph in graphs:
        own, _ = bundle.graph(args.precision, graph)
        plan = target.named(plan_path(args.bundle, own, graph))
        if is_current(plan, args.bundle, args.precision, target, options, graph):
            print(f"engines: {plan} is up to date")
            continue
        build_plan(plan, args.bundle, args.precision, target, options, graph)
        stamp = read_stamp(plan)
        print(
            f"engines: wrote {plan}: {plan.stat().st_size / 1e6:.0f} MB in {stamp.build_s:.0f} s, "
            f"TensorRT {stamp.tensorrt}, {stamp.gpu}"
        )


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
