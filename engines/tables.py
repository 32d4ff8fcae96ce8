"""The inspector's tables on the terminal."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol

from rich.table import Table

from engines.memory import MemoryByOwner

OWNERS = {
    "cuda": "CUDA's context, and other processes",
    "weights": "weights: the loaded plan",
    "contexts": "TensorRT's execution contexts, and code loaded on the first run",
    "graphs": "CUDA graphs",
    "activations": "activations of a step",
    "states": "states, two sets",
    "inputs_outputs": "inputs and outputs",
}


class Counted(Protocol):
    """A node of the ONNX, or a layer of the plan."""

    @property
    def kind(self) -> str:
        """What it does."""

    @property
    def precision(self) -> str:
        """What it computes in."""

    @property
    def weight_bytes(self) -> int:
        """Of its constants."""


def precision_table(title: str, what: str, counted: Sequence[Counted]) -> Table:
    """Counts of `what`, a row per kind, a column per precision."""
    precisions = sorted({each.precision for each in counted})
    table = Table("type", title=title)
    for heading in (*precisions, what, "weights MB"):
        table.add_column(heading, justify="right")
    for kind, _ in Counter(each.kind for each in counted).most_common():
        table.add_row(kind, *_cells([each for each in counted if each.kind == kind], precisions))
    table.add_section()
    table.add_row("all", *_cells(counted, precisions))
    return table


def _cells(counted: Sequence[Counted], precisions: Sequence[str]) -> list[str]:
    counts = Counter(each.precision for each in counted)
    weights = sum(each.weight_bytes for each in counted)
    return [*(str(counts[each] or "") for each in precisions), str(len(counted)), f"{weights / 1e6:.1f}"]


def memory_table(memory: MemoryByOwner) -> Table:
    """MB by owner."""
    table = Table("owner", title="Device memory by owner, one stream")
    table.add_column("MB", justify="right")
    for owner, size in asdict(memory).items():
        table.add_row(OWNERS[owner], f"{size:.2f}")
    table.add_section()
    table.add_row("all", f"{memory.total:.2f}")
    return table
