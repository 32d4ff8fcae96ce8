"""The inspector's tables on the terminal."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Protocol

from rich.table import Column, Table

from engines.kernels import Kernel
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
COSTLIEST = 10


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


def kinds_table(kernels: Sequence[Kernel]) -> Table:
    """Kernels of a step by kind, the costliest first."""
    table = Table("kind", title="Kernels of the captured step by kind")
    _add_times(table, kernels, _grouped(kernels, lambda kernel: kernel.kind))
    return table


def costliest_table(kernels: Sequence[Kernel]) -> Table:
    """The names whose kernels take the most time in all."""
    table = Table(Column("name", overflow="fold"), title="The costliest kernels by name")
    _add_times(table, kernels, _grouped(kernels, lambda kernel: kernel.name)[:COSTLIEST])
    return table


def _grouped(kernels: Sequence[Kernel], key: Callable[[Kernel], str]) -> list[tuple[str, list[Kernel]]]:
    groups = [(name, [each for each in kernels if key(each) == name]) for name in dict.fromkeys(map(key, kernels))]
    return sorted(groups, key=lambda group: -_microseconds(group[1]))


def _add_times(table: Table, kernels: Sequence[Kernel], groups: Sequence[tuple[str, list[Kernel]]]) -> None:
    for heading in ("kernels", "us", "share"):
        table.add_column(heading, justify="right")
    whole = _microseconds(kernels)
    for name, group in groups:
        table.add_row(name, *_time_cells(group, whole))
    table.add_section()
    table.add_row("all", *_time_cells(kernels, whole))


def _time_cells(kernels: Sequence[Kernel], whole: float) -> list[str]:
    untimed = sum(each.microseconds is None for each in kernels)
    if untimed == len(kernels):
        return [f"{untimed} (not timed)", "", ""]
    time = _microseconds(kernels)
    count = f"{len(kernels)} ({untimed} not timed)" if untimed else str(len(kernels))
    return [count, f"{time:.1f}", f"{time / whole:.1%}"]


def _microseconds(kernels: Iterable[Kernel]) -> float:
    return sum(each.microseconds or 0 for each in kernels)
