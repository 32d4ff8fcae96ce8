"""Tables in Markdown, and how the rows of result files are called in them."""

from collections.abc import Callable, Iterable, Sequence

from bench.figures import Column, graph_label, model_label, on_cpu, precision_label
from bench.pages.tables import Table, table
from bench.results import Provenance, Row

MeasuredRow = tuple[Row, Provenance]
"""A row and what its file says of where it was measured."""


def engine_label(row: Row, provenance: Provenance, *, graph: bool = True) -> str:
    """Return what ran the row and, if asked, whether in a CUDA graph."""
    version = {"tensorrt": f"TensorRT {provenance.tensorrt}", "torch": "NeMo in PyTorch"}.get(row.backend, row.backend)
    return version + (graph_label(row) if graph else "")


def where_label(row: Row, provenance: Provenance) -> str:
    """Return the GPU, or the CPU where none computed."""
    return provenance.cpu if on_cpu(row, provenance) else provenance.gpu or ""


LABELS: dict[str, Callable[[Row, Provenance], str]] = {
    "Model": lambda row, _: model_label(row),
    "Precision": lambda row, _: precision_label(row),
    "Engine": engine_label,
    "GPU or CPU": where_label,
}


def markdown(shown: Table) -> str:
    """Return a table in Markdown, without its title."""
    titles = [" ".join(title.split()) for title in shown.columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *shown.rows))


def labelled(columns: Sequence[Column], measured: Iterable[MeasuredRow]) -> str:
    """Return a table of rows of several files: labels, then these columns, those left out that no row has a figure for."""
    several = list(measured)
    plain = table("", columns, [row for row, _ in several])
    labels = [[label(*each) for label in LABELS.values()] for each in several]
    rows = [[*left, *right] for left, right in zip(labels, plain.rows, strict=True)]
    return markdown(Table("", [*LABELS, *plain.columns], rows).measured()) if several else ""
