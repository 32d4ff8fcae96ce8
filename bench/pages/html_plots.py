"""The report's plots as SVG that lies in an HTML page and takes its colours from the page's style, light or dark."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.figures import data_label, graph_label
from bench.pages.drawing import STYLE, Bar, draw_bars, drawn
from bench.pages.plots import draw_waterfalls
from bench.results import EndpointRow, Row
from bench.score.words import Alignment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib wants colours, the page has names: these stand for them until the SVG is written.
VARIABLES = {
    "#00000a": "--ink",
    "#00000b": "--line",
    "#00000c": "--accent",
    "#00000d": "--substitution",
    "#00000e": "--deletion",
    "#00000f": "--insertion",
}
INK, LINE, ACCENT, *ERRORS = VARIABLES
PLOT_STYLE = STYLE | {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.left": False,
    "grid.color": LINE,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.parse_math": False,  # a data set's name may hold a dollar
}
WIDTH_IN, WIDE_IN = 6.0, 12.2  # of half the page and of all of it
BAR_IN = 0.3
LATENCIES = {
    "first partial from speech onset": "first_partial_onset_ms",
    "final from speech end": "final_speech_end_ms",
    "final from last frame": "final_ms",
}


@dataclass(frozen=True)
class Plot:
    """A plot and what it shows."""

    title: str
    note: str
    svg: str  # an <svg> element
    wide: bool = False  # as wide as the page


def waterfall_plot(rows: Sequence[Row]) -> Plot | None:
    """Mean ms of the stages from speech onset to first text, one after the other; None without any."""
    named = {data_label(row): row.waterfall for row in rows if isinstance(row, EndpointRow) and row.waterfall}
    if not named:
        return None

    def draw(figure: "Figure") -> None:
        figure.set_size_inches(WIDE_IN, 1.4 + 2 * BAR_IN * len(named))
        draw_waterfalls(figure, list(named), list(named.values()), INK)

    note = "From speech onset to first text: the mean of each stage in ms, one after the other; a mark at the p95 of all of them."
    return _plot("Latency waterfall", note, draw, wide=True)


def latency_plot(rows: Sequence[Row]) -> Plot | None:
    """p50 and p95 of latencies, row by row; None without any."""
    bars = [
        (_label(row, name), getattr(row, f"{key}_p50", None), getattr(row, f"{key}_p95", None))
        for row in rows
        for name, key in LATENCIES.items()
    ]
    return _bars("Latency", "Bar to p50, whisker to p95, in ms.", bars, 0)


def step_plot(rows: Sequence[Row]) -> Plot | None:
    """p50 and p99 of the step, row by row; None without any."""
    bars = [(_label(row, graph_label(row).removeprefix(", ")), row.step_ms_p50, row.step_ms_p99) for row in rows]
    return _bars("Step time", "Bar to p50, whisker to p99, in ms.", bars, 2)


def error_plot(clips: dict[str, list[Alignment]]) -> Plot | None:
    """Errors of each clip over its reference's words, by kind, a panel for each name that has several clips; None without any."""
    several = {name: alignments for name, alignments in clips.items() if len(alignments) > 1}
    if not several:
        return None

    def draw(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        figure.set_size_inches(WIDE_IN, 0.5 + 1.7 * len(several))
        first: Axes | None = None
        for place, (name, alignments) in enumerate(several.items(), 1):
            axes = figure.add_subplot(len(several), 1, place, sharey=first)
            first = first or axes
            below = [0.0] * len(alignments)
            for kind, colour in zip(("substitutions", "deletions", "insertions"), ERRORS, strict=True):
                heights = [100 * getattr(each, kind) / max(1, each.words) for each in alignments]
                axes.bar(range(1, len(alignments) + 1), heights, 0.85, bottom=below, color=colour, label=kind)
                below = [low + height for low, height in zip(below, heights, strict=True)]
            axes.set(title=name, xlim=(0.4, len(alignments) + 0.6), ylabel="WER, %")
            axes.grid(visible=False, axis="x")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("clips, most errors first")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)

    note = "In the order of the transcripts below, by kind of error."
    return _plot("Word error rate of each clip", note, draw, wide=True)


def _bars(title: str, note: str, bars: Sequence[tuple[str, float | None, float | None]], digits: int) -> Plot | None:
    shown = [Bar(name, p50, high, ACCENT) for name, p50, high in bars if p50 is not None and high is not None]
    if not shown:
        return None

    def draw(figure: "Figure") -> None:
        tall = max(bar.name.count("\n") + 1 for bar in shown)
        figure.set_size_inches(WIDTH_IN, 0.5 + (0.15 + 0.16 * tall) * len(shown))
        axes = figure.add_subplot()
        draw_bars(axes, shown, digits, INK)
        axes.set_xlabel("ms")

    return _plot(title, note, draw)


def _label(row: Row, more: str) -> str:
    return "\n".join(filter(None, (row.combination, data_label(row), more)))


def _plot(title: str, note: str, draw: Callable[["Figure"], None], *, wide: bool = False) -> Plot:
    return Plot(title, note, _inline(drawn(draw, PLOT_STYLE), title), wide)


def _inline(svg: str, title: str) -> str:
    """An SVG file's text as an element of a page: as wide as its place there, its ids in no other plot, its colours the page's."""
    box = re.search(r'viewBox="[^"]*"', svg)
    start = svg.index(">", svg.index("<svg")) + 1
    drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg[start:], flags=re.DOTALL)
    name = re.sub(r"\W+", "-", title.lower())
    drawing = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
    for colour, variable in VARIABLES.items():
        drawing = drawing.replace(colour, f"var({variable})")
    return f'<svg role="img" aria-label="{title}" {box[0] if box else ""}>{drawing}'
