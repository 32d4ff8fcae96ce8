"""RESULTS.md: its template's sentences and tables, with figures that it looks up in the published result files."""

# ruff: noqa: ANN401 -- a template's items are rows, files or dictionaries
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from bench.figures import FIGURES, change_label, column, figure_name, shown
from bench.pages.combinations import combinations
from bench.pages.plots import page_plots
from bench.pages.published import Published, first_texts
from bench.pages.tables import rows_of
from bench.pages.template import rendered
from bench.rows import StepRow, StreamsRow
from bench.speech.waterfall import summed_up
from bench.summary import spread

TEMPLATE = Path(__file__).with_name("results.md.j2")


def front_page(published: Published, link: Path) -> str:
    """Return the page; `link`: the folder of the result files as the page sees it. Raises InputError where Jinja2 is missing."""
    results = list(published.results.values())
    return rendered(
        TEMPLATE,
        escape=False,
        configurations=published.configurations,
        combinations=list(chain.from_iterable(map(combinations, results))),
        steps=rows_of(results, StepRow),
        streams=rows_of(results, StreamsRow),
        ends=_ends(published),
        projections=published.projections,
        plots=page_plots(published),
        link=link.as_posix(),
        one=one,
        text=lambda item, path: _value(item, path) or "-",
        figure=figure,
        change=lambda combination: change_label(combination and combination.speech),
        met=met,
        heading=lambda name, *percentiles: " ".join(column(name, *percentiles).title.split()),
    )


def one(items: Iterable[Any], **wanted: object) -> Any:
    """Return the item, of those with these values in its row or its provenance, that was measured last; None for none."""
    found = [item for item in items if all(_of(item, key) == value for key, value in wanted.items())]
    return max(found, key=lambda item: _of(item, "date") or "", default=None)


def figure(item: object, *paths: str, digits: int | None = None) -> str:
    """Return an item's figures side by side, such as "row.rtf_p50", with the digits of bench/figures.md; a dash for what it lacks."""
    values = [_value(item, path) for path in paths]
    return shown(values, FIGURES[figure_name(paths[0].rpartition(".")[2])].digits if digits is None else digits)


def met(item: object, path: str, bound: float) -> str:
    """Return whether a figure is within a bound."""
    value = _value(item, path)
    return "not measured" if value is None else "met" if value <= bound else "missed"


def _ends(published: Published) -> dict[str, Any] | None:
    """Return what is said of utterances that end themselves, all data sets together."""
    if published.ends is None:
        return None
    records = published.ends.utterances
    return summed_up(first_texts(published.ends)) | spread("final_ms", (record.final_ms for record in records))


def _value(item: Any, path: str) -> Any:
    for name in path.split("."):
        item = item.get(name) if isinstance(item, dict) else getattr(item, name, None)
    return item


def _of(item: object, key: str) -> Any:
    row, provenance, source = (getattr(item, part, None) for part in ("row", "provenance", "source"))
    return next((getattr(part, key) for part in (row, provenance, item, source) if hasattr(part, key)), None)
