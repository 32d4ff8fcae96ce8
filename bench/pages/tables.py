"""Tables as text, whatever then prints them, and what they say of each row: its model and precision, and what computed it where."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from bench.figures import Column, graph_label
from bench.results import ResultFile
from bench.rows import Provenance, Row

_Row_co = TypeVar("_Row_co", bound=Row, covariant=True)


@dataclass(frozen=True)
class Table:
    """A table's text. A line break in a column's title is one where there is room for it."""

    title: str
    columns: list[str]
    rows: list[list[str]]

    def measured(self) -> "Table":
        """Return it without the columns that have no figure in any row."""
        kept = [place for place in range(len(self.columns)) if any(cells[place] != "-" for cells in self.rows)]
        return self.of(kept)

    def of(self, places: Sequence[int]) -> "Table":
        """Return it with the columns at these places alone."""
        rows = [[cells[place] for place in places] for cells in self.rows]
        return Table(self.title, [self.columns[place] for place in places], rows)

    def transposed(self) -> "Table":
        """Return it with a row for each column, its names broken at commas."""
        names = [cells[0].replace(", ", ",\n") for cells in self.rows]
        figures = [[title, *(cells[place] for cells in self.rows)] for place, title in enumerate(self.columns)]
        return Table(self.title, [self.columns[0], *names], figures[1:])


@dataclass(frozen=True)
class Labelled(Generic[_Row_co]):
    """A row, or several of which it has what they share, and where it was measured."""

    row: _Row_co
    provenance: Provenance

    @property
    def model(self) -> str:
        """Model, look-ahead, what decodes it if not greedy CTC, and whether its weights are random."""
        decoder = "" if self.row.decoder == "ctc" else ", RNN-T"
        weights = "" if self.row.weights == "trained" else ", random weights"
        return f"{self.row.model}, {self.row.lookahead_ms} ms{decoder}{weights}"

    @property
    def precision(self) -> str:
        """Precision, and the method of INT8's thresholds."""
        return f"{self.row.precision} {self.row.calibration or ''}".rstrip()

    @property
    def software(self) -> str:
        """What ran the model."""
        tensorrt = f"TensorRT {self.provenance.tensorrt}"
        return {"tensorrt": tensorrt, "torch": "NeMo in PyTorch"}.get(self.row.backend, self.row.backend)

    @property
    def engine(self) -> str:
        """What ran the model, and whether in a CUDA graph."""
        return self.software + graph_label(self.row)

    @property
    def on_cpu(self) -> bool:
        """Whether it was measured without a GPU: its error rate holds, its times and memory are no result."""
        return self.row.functional_check or self.provenance.gpu is None

    @property
    def where(self) -> str:
        """The GPU, or the CPU where none computed."""
        return self.provenance.cpu if self.on_cpu else self.provenance.gpu or ""


MODEL = Column("Model", attrgetter("model"))
PRECISION = Column("Precision", attrgetter("precision"))
ENGINE = Column("Engine", attrgetter("engine"))
WHERE = Column("GPU or CPU", attrgetter("where"))


def rows_of(results: Iterable[ResultFile], kind: type[_Row_co]) -> list[Labelled[_Row_co]]:
    """Return the rows of one kind in several files."""
    return [Labelled(row, result.provenance) for result in results for row in result.rows_of(kind)]


def table(title: str, columns: Sequence[Column], rows: Iterable[Any]) -> Table:
    """Return the table of these rows, each column with its cell."""
    return Table(
        title, [column.title for column in columns], [[column.cell(row) for column in columns] for row in rows]
    )


def markdown(shown: Table) -> str:
    """Return a table in Markdown, without its title."""
    titles = [" ".join(title.split()) for title in shown.columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *shown.rows))


def sheets(labels: Sequence[Column], figures: Sequence[Column], rows: Iterable[Any], apart: int = 1) -> str:
    """Return tables in Markdown, one for each value of the first `apart` labels.

    A label that is the same in all rows of a table is in its caption. A column without a figure is left out, and a table without one.
    """
    groups: dict[tuple[str, ...], list[Any]] = {}
    for row in rows:
        groups.setdefault(tuple(label.cell(row) for label in labels[:apart]), []).append(row)
    written = []
    for group in groups.values():
        differ = [label for label in labels if len({label.cell(row) for row in group}) > 1]
        caption = joined(label.cell(group[0]) for label in labels if label not in differ)
        shown = table("", [*differ, *figures], group).measured()
        if len(shown.columns) > len(differ):
            written.append(f"{caption}:\n\n{markdown(shown)}")
    return "\n\n".join(written)


def joined(names: Iterable[str]) -> str:
    """Return these names, each once, without dashes."""
    return ", ".join(dict.fromkeys(name for name in names if name != "-"))
