"""The inspector's tables on the terminal."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Literal

from rich.table import Column, Table

from engines.kernels import Kernel
from engines.memory import MemoryByOwner
from engines.nodes import Node

OWNERS = {
    "cuda": "CUDA's context, and other processes",
    "weights": "weights: the loaded plan",
    "contexts": "TensorRT's execution contexts, and code loaded on the first run",
    "graphs": "CUDA graphs",
    "activations": "activations of a step",
    "states": "states, two sets",
    "inputs_outputs": "inputs and outputs",
}


def precision_table(title: str, what: str, nodes: Sequence[Node]) -> Table:
    """Counts of `what`, a row per kind, a column per precision."""
    precisions = sorted({node.precision for node in nodes})

    def cells(counted: Sequence[Node]) -> list[str]:
        counts = Counter(node.precision for node in counted)
        weights = sum(node.weight_bytes for node in counted)
        return [*(str(counts[precision] or "") for precision in precisions), str(len(counted)), f"{weights / 1e6:.1f}"]

    kinds = Counter(node.kind for node in nodes).most_common()
    rows = [(kind, *cells([node for node in nodes if node.kind == kind])) for kind, _ in kinds]
    return _table(title, ("type", *precisions, what, "weights MB"), rows, cells(nodes))


def memory_table(memory: MemoryByOwner) -> Table:
    """MB by owner."""
    rows = [(OWNERS[owner], f"{size:.2f}") for owner, size in asdict(memory).items()]
    return _table("Device memory by owner, one stream", ("owner", "MB"), rows, [f"{memory.total:.2f}"])


def kernels_table(
    title: str, key: Literal["kind", "name"], kernels: Sequence[Kernel], most: int | None = None
) -> Table:
    """Kernels of a step by kind or by name, those that take most time in all first, at `most` so many rows."""
    groups = defaultdict(list)
    for kernel in kernels:
        groups[kernel.kind if key == "kind" else kernel.name].append(kernel)
    whole = _microseconds(kernels)

    def cells(group: Sequence[Kernel]) -> list[str]:
        untimed = sum(kernel.microseconds is None for kernel in group)
        if untimed == len(group):
            return [f"{untimed} (not timed)", "", ""]
        time = _microseconds(group)
        count = f"{len(group)} ({untimed} not timed)" if untimed else str(len(group))
        return [count, f"{time:.1f}", f"{time / whole:.1%}"]

    costliest = sorted(groups.items(), key=lambda named: -_microseconds(named[1]))[:most]
    rows = [(name, *cells(group)) for name, group in costliest]
    return _table(title, (key, "kernels", "us", "share"), rows, cells(kernels))


def _microseconds(kernels: Iterable[Kernel]) -> float:
    return sum(kernel.microseconds or 0 for kernel in kernels)


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str]) -> Table:
    """Names in the first column, figures in the others, and a last row of all."""
    first, *others = headings
    figures = [Column(heading, justify="right") for heading in others]
    table = Table(Column(first, overflow="fold"), *figures, title=title)
    for row in rows:
        table.add_row(*row)
    table.add_section()
    table.add_row("all", *total)
    return table
