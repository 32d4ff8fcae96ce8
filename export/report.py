"""How many nodes and products a step has, beside NeMo's own export of the same encoder.

`python -m export.report --model MODEL [--lookahead MS]` prints both; NeMo's export goes to build/nemo-export.
"""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx

from runtime.arguments import Arguments
from runtime.bundle import read_bundle, step_file
from runtime.errors import exit_code

PRODUCTS = ("MatMul", "Gemm")
LAYERS = ("layer",)
ENCODER = ("subsampling", *LAYERS)
"""How the names of its nodes begin, from the log-mel to the encoded frames: without front end, masks, CTC head and state."""


def count_nodes(path: Path, names: tuple[str, ...] = ("",)) -> tuple[int, int]:
    """Nodes without constants of a graph whose names begin so, and how many of them are products."""
    nodes = [
        node.op_type
        for node in onnx.load(path, load_external_data=False).graph.node
        if node.op_type != "Constant" and node.name.startswith(names)
    ]
    return len(nodes), sum(kind in PRODUCTS for kind in nodes)


def run(args: argparse.Namespace) -> None:
    """Print the counts of the bundle's step and of NeMo's own cache-aware export of its encoder (TorchScript exporter).

    Raises InputError for a bundle that is missing or not whole.
    """
    from export.bundle import bundle_folder
    from export.checkpoint import load_checkpoint
    from export.quiet import quiet_nemo

    folder = bundle_folder(args.out / "bundles", args.model, args.lookahead)
    bundle = read_bundle(folder)
    step, _ = step_file(folder, bundle, bundle.widest)
    checkpoint = load_checkpoint(args.model)
    architecture, encoder = checkpoint.architecture, checkpoint.encoder
    encoder.set_default_att_context_size(
        [architecture.left_context_frames, architecture.lookahead_frames(args.lookahead)]
    )
    encoder.export_cache_support = True
    path = args.out / "nemo-export" / "encoder.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    with quiet_nemo():
        encoder.export(str(path), check_trace=False)
    in_layers, layer_products = (number / architecture.layers for number in count_nodes(step, LAYERS))
    print(
        f"ours: {count_nodes(step)[0]} nodes in all, {count_nodes(step, ENCODER)[0]} in the encoder, {in_layers:.1f} and "
        f"{layer_products:.1f} products a layer"
    )
    nodes, products = count_nodes(path)
    print(
        f"NeMo's encoder: {nodes} nodes, {nodes / architecture.layers:.1f} and {products / architecture.layers:.1f} products a layer"
    )


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the report."""
    parser = Arguments(prog="python -m export.report", description="Count nodes beside NeMo's own export.")
    parser.add_argument("--model", required=True, help=".nemo file, a published checkpoint's name, or large-random")
    parser.add_argument("--lookahead", type=int, default=80, metavar="MS", help="look-ahead in ms")
    parser.add_argument("--out", type=Path, default=Path("build"), help="where bundles/ and nemo-export/ lie")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
