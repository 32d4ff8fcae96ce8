"""How many nodes and products a step has, beside NeMo's own export of the same encoder.

`python -m export.report --model MODEL [--lookahead MS]` prints both; NeMo's export goes to build/nemo-export.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from runtime.bundle import read_bundle, step_file
from runtime.errors import exit_code

PRODUCTS = ("MatMul", "Gemm")
ENCODER_SCOPES = ("subsampling", "layer")


@dataclass(frozen=True)
class NodeCounts:
    """Nodes without constants."""

    total: int
    encoder: int
    """From the log-mel to the encoded frames; without front end, masks, CTC head and state."""
    layers: int
    nodes_per_layer: float
    products_per_layer: float


def count_nodes(path: Path) -> NodeCounts:
    """Counts of an exported step."""
    nodes = [each for each in onnx.load(path, load_external_data=False).graph.node if each.op_type != "Constant"]
    scopes = Counter(each.name.split("/")[0] for each in nodes)
    layers = [each for each in nodes if each.name.startswith("layer")]
    count = len({each.name.split("/")[0] for each in layers})
    return NodeCounts(
        total=len(nodes),
        encoder=sum(number for scope, number in scopes.items() if scope.startswith(ENCODER_SCOPES)),
        layers=count,
        nodes_per_layer=len(layers) / count,
        products_per_layer=sum(each.op_type in PRODUCTS for each in layers) / count,
    )


def nemo_export(model: str, lookahead_ms: int, folder: Path) -> tuple[int, int]:
    """Nodes without constants, and products, of NeMo's own cache-aware export of the encoder (TorchScript exporter)."""
    from export.checkpoint import load_checkpoint, quiet_nemo

    checkpoint = load_checkpoint(model)
    encoder = checkpoint.encoder
    encoder.set_default_att_context_size(
        [checkpoint.architecture.left_context_frames, checkpoint.architecture.lookahead_frames(lookahead_ms)]
    )
    encoder.export_cache_support = True
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "encoder.onnx"
    with quiet_nemo():
        encoder.export(str(path), check_trace=False)
    nodes = [each for each in onnx.load(path, load_external_data=False).graph.node if each.op_type != "Constant"]
    return len(nodes), sum(each.op_type in PRODUCTS for each in nodes)


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the report."""
    parser = argparse.ArgumentParser(
        prog="python -m export.report", description="Count nodes beside NeMo's own export."
    )
    parser.add_argument("--model", required=True, help=".nemo file, a published checkpoint's name, or large-random")
    parser.add_argument("--lookahead", type=int, default=80, metavar="MS", help="look-ahead in ms")
    parser.add_argument("--out", type=Path, default=Path("build"), help="where bundles/ and nemo-export/ lie")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Print both counts. Raises InputError for a bundle that is missing or not whole."""
    from export.bundle import bundle_folder

    folder = bundle_folder(args.out / "bundles", args.model, args.lookahead)
    bundle = read_bundle(folder)
    step, _ = step_file(folder, bundle, bundle.widest)
    ours = count_nodes(step)
    nodes, products = nemo_export(args.model, args.lookahead, args.out / "nemo-export")
    print(
        f"ours: {ours.total} nodes in all, {ours.encoder} in the encoder, {ours.nodes_per_layer:.1f} and "
        f"{ours.products_per_layer:.1f} products a layer"
    )
    print(f"NeMo's encoder: {nodes} nodes, {nodes / ours.layers:.1f} and {products / ours.layers:.1f} products a layer")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
